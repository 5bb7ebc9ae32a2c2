//! `InstanceService`: what owners and operators ask for.

use std::pin::Pin;

use contracts::instance::v1 as wire;
use contracts::instance::v1::instance_service_server::InstanceService;
use futures::{Stream, StreamExt as _};
use instance::domain::AskedLimits;
use runtime::identity;
use runtime::page::Page;
use tonic::{Request, Response, Status};

use super::{convert, field_id, id};
use crate::app::act::{ActionRequest, act, parse_action};
use crate::app::caller::Caller;
use crate::app::create::{Altered, CreateInput, Created, create};
use crate::app::lookup::{self, ListQuery};
use crate::app::reactivate::{Reactivated, bring_back};
use crate::app::update::{Edit, update};
use crate::app::{App, credentials, follow, operate};
use crate::error::Error;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Api(pub(super) App);

fn caller_of<T>(request: &Request<T>) -> Result<Caller, Status> {
    Caller::of(identity::Caller::of(request)?)
}

#[tonic::async_trait]
impl InstanceService for Api {
    async fn create_instance(
        &self,
        request: Request<wire::CreateInstanceRequest>,
    ) -> Result<Response<wire::CreateInstanceResponse>, Status> {
        let caller = caller_of(&request)?;
        let request = request.into_inner();
        let customer_id =
            request.customer_id.as_deref().map(|text| field_id("customer_id", text)).transpose()?;
        let input = CreateInput {
            name: request.name,
            odoo_version: request.odoo_version,
            admin_email: request.admin_email,
            demo_data: request.demo_data,
            cpu_millis: request.cpu_millis,
            memory_mib: request.memory_mib,
            storage_mib: request.storage_mib,
            description: request.description,
            subdomain: request.subdomain,
            plan: request.plan,
            trial: request.trial,
            instance_type: request.instance_type,
            database_name: request.database_name,
            labels: request.labels.into_iter().collect(),
            customer_id,
            coupon: request.coupon,
        };
        let (name, chosen) = (input.name.clone(), input.subdomain.is_some());
        let Created { found, operation } = create(&self.0, &caller, input, &request.idempotency_key).await?;
        let subdomains = &self.0.rules.subdomains;
        let altered = Altered::of(subdomains, &name, chosen, &found.instance.subdomain);
        Ok(Response::new(wire::CreateInstanceResponse {
            wanted_subdomain: altered.wanted,
            subdomain_reason: altered.reason.to_owned(),
            instance: Some(convert::instance(&self.0, &caller, found)),
            operation: operation.map(convert::operation),
        }))
    }

    async fn reactivate_instance(
        &self,
        request: Request<wire::ReactivateInstanceRequest>,
    ) -> Result<Response<wire::ReactivateInstanceResponse>, Status> {
        let caller = caller_of(&request)?;
        let wire::ReactivateInstanceRequest { instance_id, plan_name, coupon } = request.into_inner();
        let instance = id("instance", &instance_id)?;
        let Reactivated { found, operation } =
            bring_back(&self.0, &caller, instance, &plan_name, coupon).await?;
        Ok(Response::new(wire::ReactivateInstanceResponse {
            instance: Some(convert::instance(&self.0, &caller, found)),
            operation: operation.map(convert::operation),
        }))
    }

    async fn get_instance(
        &self,
        request: Request<wire::GetInstanceRequest>,
    ) -> Result<Response<wire::GetInstanceResponse>, Status> {
        let caller = caller_of(&request)?;
        let found = lookup::get(&self.0, &caller, id("instance", &request.get_ref().instance_id)?).await?;
        let instance = Some(convert::instance(&self.0, &caller, found));
        Ok(Response::new(wire::GetInstanceResponse { instance }))
    }

    async fn get_instance_by_subscription(
        &self,
        request: Request<wire::GetInstanceBySubscriptionRequest>,
    ) -> Result<Response<wire::GetInstanceBySubscriptionResponse>, Status> {
        let caller = caller_of(&request)?;
        let subscription = id("instance", &request.get_ref().subscription_id)?;
        let found = lookup::by_subscription(&self.0, &caller, subscription).await?;
        let instance = Some(convert::instance(&self.0, &caller, found));
        Ok(Response::new(wire::GetInstanceBySubscriptionResponse { instance }))
    }

    async fn list_instances(
        &self,
        request: Request<wire::ListInstancesRequest>,
    ) -> Result<Response<wire::ListInstancesResponse>, Status> {
        let caller = caller_of(&request)?;
        let request = request.into_inner();
        let query = ListQuery {
            status: request.status,
            query: request.query,
            sort: request.sort,
            customer: request.customer_id.as_deref().map(|text| field_id("customer_id", text)).transpose()?,
            all: request.all_customers,
            page: Page::try_new(request.page, request.page_size)?,
        };
        let (found, total) = lookup::list(&self.0, &caller, query).await?;
        let instances = found.into_iter().map(|found| convert::instance(&self.0, &caller, found)).collect();
        Ok(Response::new(wire::ListInstancesResponse { instances, total }))
    }

    async fn update_instance(
        &self,
        request: Request<wire::UpdateInstanceRequest>,
    ) -> Result<Response<wire::UpdateInstanceResponse>, Status> {
        let caller = caller_of(&request)?;
        let request = request.into_inner();
        let edit = Edit {
            name: request.name,
            description: request.description,
            admin_email: request.admin_email,
            labels: request.labels.map(|map| map.labels.into_iter().collect()),
            limits: AskedLimits {
                cpu_millis: request.cpu_millis,
                memory_mib: request.memory_mib,
                storage_mib: request.storage_mib,
            },
            expected_version: request.expected_version,
        };
        let (found, operation) =
            update(&self.0, &caller, id("instance", &request.instance_id)?, &edit).await?;
        Ok(Response::new(wire::UpdateInstanceResponse {
            instance: Some(convert::instance(&self.0, &caller, found)),
            operation_id: operation.map(|id| id.to_string()),
        }))
    }

    async fn act_on_instance(
        &self,
        request: Request<wire::ActOnInstanceRequest>,
    ) -> Result<Response<wire::ActOnInstanceResponse>, Status> {
        let caller = caller_of(&request)?;
        let request = request.into_inner();
        let action_request = ActionRequest {
            reason: request.reason.filter(|reason| !reason.trim().is_empty()),
            confirm: request.confirm,
            final_backup: request.final_backup,
            force: request.force.unwrap_or(false),
            billing_status: None,
        };
        let instance = id("instance", &request.instance_id)?;
        let action = parse_action(&request.action)?;
        let acted = act(&self.0, &caller, instance, action, &action_request).await?;
        Ok(Response::new(convert::acted(acted)))
    }

    async fn check_subdomain(
        &self,
        request: Request<wire::CheckSubdomainRequest>,
    ) -> Result<Response<wire::CheckSubdomainResponse>, Status> {
        let answer = lookup::check_subdomain(&self.0, &request.get_ref().subdomain).await?;
        Ok(Response::new(wire::CheckSubdomainResponse {
            available: answer.available,
            reason: answer.reason.to_owned(),
            message: answer.message,
            suggestion: answer.suggestion,
        }))
    }

    async fn get_instance_status(
        &self,
        request: Request<wire::GetInstanceStatusRequest>,
    ) -> Result<Response<wire::GetInstanceStatusResponse>, Status> {
        let caller = caller_of(&request)?;
        let (found, probe) =
            lookup::status(&self.0, &caller, id("instance", &request.get_ref().instance_id)?).await?;
        Ok(Response::new(convert::status(&caller, found.instance, probe)))
    }

    async fn get_instance_logs(
        &self,
        request: Request<wire::GetInstanceLogsRequest>,
    ) -> Result<Response<wire::GetInstanceLogsResponse>, Status> {
        let caller = caller_of(&request)?;
        let wire::GetInstanceLogsRequest { instance_id, lines, previous } = request.into_inner();
        let lines = lookup::logs(&self.0, &caller, id("instance", &instance_id)?, lines, previous).await?;
        let lines =
            lines.into_iter().map(|line| wire::LogLine { time: line.time, text: line.text }).collect();
        Ok(Response::new(wire::GetInstanceLogsResponse { lines }))
    }

    async fn list_events(
        &self,
        request: Request<wire::ListEventsRequest>,
    ) -> Result<Response<wire::ListEventsResponse>, Status> {
        let caller = caller_of(&request)?;
        let wire::ListEventsRequest { instance_id, page, page_size } = request.into_inner();
        let page = Page::try_new(page, page_size)?;
        let (events, total) = lookup::timeline(&self.0, &caller, id("instance", &instance_id)?, page).await?;
        let events = events.into_iter().map(convert::event).collect();
        Ok(Response::new(wire::ListEventsResponse { events, total }))
    }

    async fn list_operations(
        &self,
        request: Request<wire::ListOperationsRequest>,
    ) -> Result<Response<wire::ListOperationsResponse>, Status> {
        let caller = caller_of(&request)?;
        let wire::ListOperationsRequest { instance_id, page, page_size } = request.into_inner();
        let page = Page::try_new(page, page_size)?;
        let (operations, total) =
            lookup::operations(&self.0, &caller, id("instance", &instance_id)?, page).await?;
        let operations = operations.into_iter().map(convert::operation).collect();
        Ok(Response::new(wire::ListOperationsResponse { operations, total }))
    }

    async fn get_operation(
        &self,
        request: Request<wire::GetOperationRequest>,
    ) -> Result<Response<wire::GetOperationResponse>, Status> {
        let caller = caller_of(&request)?;
        let wire::GetOperationRequest { instance_id, operation_id } = request.into_inner();
        let (instance, operation) = (id("operation", &instance_id)?, id("operation", &operation_id)?);
        let operation = lookup::operation(&self.0, &caller, instance, operation).await?;
        Ok(Response::new(wire::GetOperationResponse { operation: Some(convert::operation(operation)) }))
    }

    type WatchOperationStream =
        Pin<Box<dyn Stream<Item = Result<wire::WatchOperationResponse, Status>> + Send>>;

    async fn watch_operation(
        &self,
        request: Request<wire::WatchOperationRequest>,
    ) -> Result<Response<Self::WatchOperationStream>, Status> {
        let caller = caller_of(&request)?;
        let wire::WatchOperationRequest { instance_id, operation_id, after_revision } = request.into_inner();
        let (instance, operation) = (id("operation", &instance_id)?, id("operation", &operation_id)?);
        let changes = follow::follow(&self.0, &caller, instance, operation, after_revision).await?;
        let stream = changes.map(|change| {
            let operation = Some(convert::operation(change?));
            Ok(wire::WatchOperationResponse { operation })
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn cancel_operation(
        &self,
        request: Request<wire::CancelOperationRequest>,
    ) -> Result<Response<wire::CancelOperationResponse>, Status> {
        let caller = caller_of(&request)?;
        let wire::CancelOperationRequest { instance_id, operation_id } = request.into_inner();
        let (instance, operation) = (id("operation", &instance_id)?, id("operation", &operation_id)?);
        let operation = operate::cancel(&self.0, &caller, instance, operation).await?;
        Ok(Response::new(wire::CancelOperationResponse { operation: Some(convert::operation(operation)) }))
    }

    async fn reveal_credentials(
        &self,
        request: Request<wire::RevealCredentialsRequest>,
    ) -> Result<Response<wire::RevealCredentialsResponse>, Status> {
        let caller = caller_of(&request)?;
        let instance = id("instance", &request.get_ref().instance_id)?;
        let credentials = credentials::reveal(&self.0, &caller, instance).await?;
        if credentials.admin_password.is_empty() {
            return Err(Error::NotFound("credentials").into());
        }
        Ok(Response::new(wire::RevealCredentialsResponse {
            admin_email: credentials.admin_email,
            admin_password: credentials.admin_password,
        }))
    }
}
