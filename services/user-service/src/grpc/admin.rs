//! `UserAdminService`: routes of operators and administrators. The role is proved twice: by the token
//! (policy) and by the account as it is now.

use contracts::scalars::datetime;
use contracts::user::v1::user_admin_service_server::UserAdminService;
use contracts::user::v1::{
    CustomerSummary, EndSessionsRequest, EndSessionsResponse, ForcePasswordResetRequest,
    ForcePasswordResetResponse, GetCustomerDetailRequest, GetCustomerDetailResponse, ListAuditRequest,
    ListAuditResponse, ListCustomersRequest, ListCustomersResponse, SetCustomerActiveRequest,
    SetCustomerActiveResponse, SetQuotaRequest, SetQuotaResponse, SetRoleRequest, SetRoleResponse,
};
use runtime::identity::Role;
use runtime::page::Page;
use tonic::{Request, Response, Status};

use super::{Api, convert};
use crate::domain::{audit, parse_reason, users};
use crate::error::Error;

fn reason(text: &str) -> Result<String, Error> {
    parse_reason(text).map_err(|message| Error::invalid("reason", message))
}

#[tonic::async_trait]
impl UserAdminService for Api {
    async fn list_customers(
        &self,
        request: Request<ListCustomersRequest>,
    ) -> Result<Response<ListCustomersResponse>, Status> {
        self.caller_with(&request, Role::Operator).await?;
        let body = request.get_ref();
        let filter =
            users::Filter::parse(&body.status).map_err(|message| Error::invalid("status", message))?;
        let page = Page::try_new(body.page, body.page_size)?;
        let (rows, total) = self.app.list_customers(&body.query, filter, page).await?;
        let customers = rows.into_iter().map(|(user, instance_count)| CustomerSummary {
            customer: Some(convert::customer(&user)),
            instance_count,
        });
        Ok(Response::new(ListCustomersResponse { customers: customers.collect(), total }))
    }

    async fn get_customer_detail(
        &self,
        request: Request<GetCustomerDetailRequest>,
    ) -> Result<Response<GetCustomerDetailResponse>, Status> {
        self.caller_with(&request, Role::Operator).await?;
        let id = convert::id(&request.get_ref().customer_id, "customer")?;
        let (profile, sessions) = self.app.customer_detail(id).await?;
        Ok(Response::new(GetCustomerDetailResponse {
            profile: Some(convert::profile(profile)),
            sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
        }))
    }

    async fn set_customer_active(
        &self,
        request: Request<SetCustomerActiveRequest>,
    ) -> Result<Response<SetCustomerActiveResponse>, Status> {
        let caller = self.caller_with(&request, Role::Admin).await?;
        let body = request.get_ref();
        let (id, reason) = (convert::id(&body.customer_id, "customer")?, reason(&body.reason)?);
        self.app.set_active(&caller, id, body.active, &reason).await?;
        Ok(Response::new(SetCustomerActiveResponse {}))
    }

    async fn force_password_reset(
        &self,
        request: Request<ForcePasswordResetRequest>,
    ) -> Result<Response<ForcePasswordResetResponse>, Status> {
        let caller = self.caller_with(&request, Role::Admin).await?;
        let body = request.get_ref();
        let (id, reason) = (convert::id(&body.customer_id, "customer")?, reason(&body.reason)?);
        self.app.force_password_reset(&caller, id, &reason).await?;
        Ok(Response::new(ForcePasswordResetResponse {}))
    }

    async fn end_sessions(
        &self,
        request: Request<EndSessionsRequest>,
    ) -> Result<Response<EndSessionsResponse>, Status> {
        let caller = self.caller_with(&request, Role::Admin).await?;
        let body = request.get_ref();
        let (id, reason) = (convert::id(&body.customer_id, "customer")?, reason(&body.reason)?);
        self.app.end_sessions(&caller, id, &reason).await?;
        Ok(Response::new(EndSessionsResponse {}))
    }

    async fn set_role(&self, request: Request<SetRoleRequest>) -> Result<Response<SetRoleResponse>, Status> {
        let caller = self.caller_with(&request, Role::SuperAdmin).await?;
        let body = request.get_ref();
        let (id, reason) = (convert::id(&body.customer_id, "customer")?, reason(&body.reason)?);
        let role: Role = body
            .role
            .parse()
            .map_err(|_| Error::invalid("role", "must be customer, operator, admin or super_admin"))?;
        self.app.set_role(&caller, id, role, &reason).await?;
        Ok(Response::new(SetRoleResponse {}))
    }

    async fn set_quota(
        &self,
        request: Request<SetQuotaRequest>,
    ) -> Result<Response<SetQuotaResponse>, Status> {
        let caller = self.caller_with(&request, Role::Admin).await?;
        let body = request.get_ref();
        let (id, reason) = (convert::id(&body.customer_id, "customer")?, reason(&body.reason)?);
        self.app.set_quota(&caller, id, body.max_instances, &reason).await?;
        Ok(Response::new(SetQuotaResponse {}))
    }

    async fn list_audit(
        &self,
        request: Request<ListAuditRequest>,
    ) -> Result<Response<ListAuditResponse>, Status> {
        self.caller_with(&request, Role::Admin).await?;
        let body = request.into_inner();
        let page = Page::try_new(body.page, body.page_size)?;
        let filter = audit::Filter {
            actor: body.actor,
            action: body.action,
            target: body.target,
            customer: None,
            from: body.from.as_ref().and_then(datetime),
            to: body.to.as_ref().and_then(datetime),
        };
        let (entries, total) = self.app.all_audit(&filter, page).await?;
        let entries = entries.into_iter().map(convert::audit_entry).collect();
        Ok(Response::new(ListAuditResponse { entries, total }))
    }
}
