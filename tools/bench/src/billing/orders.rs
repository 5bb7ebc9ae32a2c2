//! Orders as instance-service places them: by gRPC, with its token.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use contracts::billing::v1::PlaceOrderRequest;
use contracts::billing::v1::order_service_client::OrderServiceClient;
use contracts::services::{BILLING, INSTANCE};
use e2e::Stack;
use runtime::config::{GrpcTls, ServiceIdentity};
use runtime::grpc::{Authenticated, Dialer};
use runtime::identity::ServiceSigner;
use uuid::Uuid;

use super::secrets;

/// A client of billing-service.
pub struct Desk(OrderServiceClient<Authenticated>);

impl Desk {
    /// With the key that the stack keeps for instance-service.
    pub fn connect(stack: &Stack, stack_file: &Path) -> anyhow::Result<Self> {
        let secrets = secrets(stack_file)?;
        let key = secrets["service_keys"][INSTANCE].as_str().context("no key of instance-service")?;
        let identity = ServiceIdentity {
            service_token_private_key: key.into(),
            service_token_public_keys: String::new(),
        };
        let tls = GrpcTls { enabled: false, ca_file: None, cert_file: None, key_file: None };
        let dialer = Dialer::try_new(ServiceSigner::try_new(INSTANCE, &identity)?, &tls)?;
        let url = stack.grpc.get(BILLING).context("no gRPC address of billing-service")?;
        Ok(Self(OrderServiceClient::new(dialer.channel(BILLING, url, Duration::from_secs(30))?)))
    }

    /// A paid order of a new customer: account, order, subscription, invoice, journal.
    pub async fn order(&self) -> anyhow::Result<()> {
        let wish = PlaceOrderRequest {
            instance_id: Uuid::now_v7().to_string(),
            customer_id: Uuid::now_v7().to_string(),
            plan_name: "basic-monthly".into(),
            trial: Some(false),
            settings_json: r#"{"name": "Shop"}"#.into(),
            coupon: String::new(),
            ..PlaceOrderRequest::default()
        };
        let answer = self.0.clone().place_order(wish).await?.into_inner();
        ensure!(answer.subscription.is_some(), "an order without a subscription");
        Ok(())
    }
}
