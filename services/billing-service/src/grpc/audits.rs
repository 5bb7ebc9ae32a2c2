//! `AuditAdminService`: what the audit found.

use std::str::FromStr as _;

use contracts::billing::v1 as proto;
use contracts::billing::v1::audit_admin_service_server::AuditAdminService;
use contracts::scalars::timestamp;
use runtime::page::Page;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::Api;
use super::admin::{by, optional};
use crate::app::audit::findings::{self, TASK};
use crate::domain::audit::FindingKind;
use crate::domain::audit::{AuditRun, FindingFilter, KeptFinding};
use crate::error::Error;

fn finding(kept: KeptFinding) -> proto::Finding {
    let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    proto::Finding {
        id: kept.id.to_string(),
        kind: kept.kind,
        subject_id: id(kept.subject_id),
        customer_id: id(kept.customer_id),
        detail: kept.detail,
        state: if kept.resolved_at.is_none() { "open" } else { "resolved" }.into(),
        first_seen_at: Some(timestamp(kept.first_seen_at)),
        last_seen_at: Some(timestamp(kept.last_seen_at)),
        resolved_at: kept.resolved_at.map(timestamp),
        acknowledged_at: kept.acknowledged_at.map(timestamp),
        acknowledged_by: kept.acknowledged_by,
        acknowledge_reason: kept.acknowledge_reason,
    }
}

fn run(run: AuditRun) -> proto::AuditRun {
    let counts = run.counts.as_object().into_iter().flatten();
    proto::AuditRun {
        id: run.id.to_string(),
        task_id: run.cause.strip_prefix(TASK).unwrap_or_default().to_owned(),
        state: run.state,
        counts: counts.filter_map(|(kind, count)| Some((kind.clone(), count.as_i64()?))).collect(),
        reason: run.reason,
        started_at: Some(timestamp(run.started_at)),
        finished_at: run.finished_at.map(timestamp),
    }
}

fn named(id: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(id).map_err(|_| Error::NotFound("finding"))
}

#[tonic::async_trait]
impl AuditAdminService for Api {
    async fn list_findings(
        &self,
        request: Request<proto::ListFindingsRequest>,
    ) -> Result<Response<proto::ListFindingsResponse>, Status> {
        let asked = request.into_inner();
        let page = Page::try_new(asked.page, asked.page_size)?;
        let open = match asked.state.as_deref() {
            None => None,
            Some("open") => Some(true),
            Some("resolved") => Some(false),
            Some(_) => {
                return Err(Error::Field { field: "state", message: "must be open or resolved" }.into());
            }
        };
        if asked.kind.as_deref().is_some_and(|kind| FindingKind::from_str(kind).is_err()) {
            return Err(Error::Field { field: "kind", message: "is no kind of finding" }.into());
        }
        let filter =
            FindingFilter { open, kind: asked.kind, customer_id: optional(asked.customer_id.as_deref())? };
        let (rows, total) = findings::list(&self.app, &filter, page).await?;
        Ok(Response::new(proto::ListFindingsResponse {
            findings: rows.into_iter().map(finding).collect(),
            total: u64::try_from(total).unwrap_or(0),
        }))
    }

    async fn get_finding(
        &self,
        request: Request<proto::FindingRequest>,
    ) -> Result<Response<proto::GetFindingResponse>, Status> {
        let id = named(&request.get_ref().finding_id)?;
        let kept = findings::find(&self.app, id).await?;
        Ok(Response::new(proto::GetFindingResponse { finding: Some(finding(kept)) }))
    }

    async fn acknowledge_finding(
        &self,
        request: Request<proto::AcknowledgeFindingRequest>,
    ) -> Result<Response<proto::GetFindingResponse>, Status> {
        let by = by(&request, &request.get_ref().reason)?;
        let id = named(&request.get_ref().finding_id)?;
        let kept = findings::acknowledge(&self.app, &by, id, self.app.real_now().await).await?;
        Ok(Response::new(proto::GetFindingResponse { finding: Some(finding(kept)) }))
    }

    async fn list_audits(
        &self,
        request: Request<proto::ListAuditsRequest>,
    ) -> Result<Response<proto::ListAuditsResponse>, Status> {
        let asked = request.into_inner();
        let page = Page::try_new(asked.page, asked.page_size)?;
        let (rows, total) = findings::runs(&self.app, asked.task_id, page).await?;
        Ok(Response::new(proto::ListAuditsResponse {
            audits: rows.into_iter().map(run).collect(),
            total: u64::try_from(total).unwrap_or(0),
        }))
    }

    async fn run_audit(
        &self,
        request: Request<proto::RunAuditRequest>,
    ) -> Result<Response<proto::RunAuditResponse>, Status> {
        let by = by(&request, &request.get_ref().reason)?;
        let task = findings::order(&self.app, &by).await?;
        Ok(Response::new(proto::RunAuditResponse { task_id: task.to_string() }))
    }
}
