//! Orders and their way back (part 4 of the API): BIL-13, BIL-22, BIL-25.

use contracts::billing::v1 as money;
use contracts::instance::v1 as pb;
use runtime::grpc::Refusal;
use runtime::identity::Role;
use serde_json::json;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::world::World;

const B: &str = "/billing/api/billing";

fn instances(method: &str) -> String {
    format!("saasodoo.instance.v1.InstanceService/{method}")
}

fn billing(method: &str) -> String {
    format!("saasodoo.billing.v1.BillingService/{method}")
}

fn instance(id: &str, status: &str) -> pb::Instance {
    pb::Instance {
        id: id.to_owned(),
        customer_id: Uuid::nil().to_string(),
        subscription_id: Uuid::max().to_string(),
        status: status.to_owned(),
        ..pb::Instance::default()
    }
}

fn papers(world: &World) {
    world.fake.on(&billing("GetSubscription"), |asked: money::GetSubscriptionRequest| {
        let subscription = money::Subscription {
            id: asked.subscription_id,
            status: "active".into(),
            ..money::Subscription::default()
        };
        Ok(money::GetSubscriptionResponse { subscription: Some(subscription) })
    });
    world.fake.on(&billing("ListInvoices"), |asked: money::ListInvoicesRequest| {
        assert_eq!(asked.subscription_id, Some(Uuid::max().to_string()));
        let invoice = money::Invoice {
            number: "INV-000007".into(),
            status: "open".into(),
            ..money::Invoice::default()
        };
        Ok(money::ListInvoicesResponse { invoices: vec![invoice], total: 1 })
    });
}

/// BIL-13: one call orders both, and shows what was bought. The order stands when billing cannot be read in
/// that moment.
#[tokio::test]
async fn an_order_answers_with_its_subscription_and_invoice() {
    let world = World::start().await;
    let (token, id) = (world.token(Role::Customer), Uuid::now_v7().to_string());
    let made = instance(&id, "creating");
    world.fake.on(&instances("CreateInstance"), move |asked: pb::CreateInstanceRequest| {
        assert_eq!((asked.plan.as_deref(), asked.coupon.as_str()), (Some("basic-monthly"), "WELCOME10"));
        Ok(pb::CreateInstanceResponse { instance: Some(made.clone()), ..Default::default() })
    });
    papers(&world);
    let body = json!({"name": "shop", "plan_name": "basic-monthly", "coupon": "WELCOME10"});
    let answer = world.post(&format!("{B}/instances"), &token, &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("location"), format!("/instance/instances/{id}"));
    let shown = answer.json();
    assert_eq!((&shown["instance_id"], &shown["success"]), (&json!(id), &json!(true)));
    assert_eq!(shown["subscription"]["subscription_id"], shown["subscription_id"]);
    assert_eq!(shown["invoice"]["number"], "INV-000007");

    world.fake.on(&billing("GetSubscription"), |_: money::GetSubscriptionRequest| {
        Err::<money::GetSubscriptionResponse, _>(Status::unavailable("away"))
    });
    let answer = world.post(&format!("{B}/instances"), &token, &body).await;
    assert_eq!((answer.status, &answer.json()["subscription"]), (201, &json!(null)));
}

/// BIL-25: both spellings, and each refusal with its status.
#[tokio::test]
async fn an_ended_instance_is_asked_back() {
    let world = World::start().await;
    let (token, id) = (world.token(Role::Customer), Uuid::now_v7().to_string());
    let back = instance(&id, "pending_payment");
    world.fake.on(&instances("ReactivateInstance"), move |asked: pb::ReactivateInstanceRequest| {
        assert_eq!(
            (asked.instance_id.as_str(), asked.plan_name.as_str()),
            (back.id.as_str(), "basic-monthly")
        );
        Ok(pb::ReactivateInstanceResponse { instance: Some(back.clone()), operation: None })
    });
    papers(&world);
    for (path, body) in [
        (format!("{B}/instances/{id}/reactivate"), json!({"plan_name": "basic-monthly"})),
        (format!("{B}/instances/reactivate"), json!({"instance_id": id, "plan_name": "basic-monthly"})),
    ] {
        let answer = world.post(&path, &token, &body).await;
        assert_eq!(answer.status, 202, "{path}: {answer:?}");
        let shown = answer.json();
        assert_eq!((&shown["status"], &shown["operation_id"]), (&json!("pending_payment"), &json!(null)));
        assert_eq!(shown["invoice"]["status"], "open");
        let unknown = world.post(&path, &token, &json!({"plan_name": "x", "price": 0})).await;
        assert_eq!(unknown.status, 422, "{unknown:?}");
    }
    let path = format!("{B}/instances/{id}/reactivate");
    for (reason, status) in
        [("not_terminated", 409), ("purged", 410), ("unpaid_invoices", 402), ("storage_exceeds_plan", 409)]
    {
        world.fake.on(&instances("ReactivateInstance"), move |_: pb::ReactivateInstanceRequest| {
            let refusal = Refusal::new(Code::FailedPrecondition, reason, "no");
            Err::<pb::ReactivateInstanceResponse, _>(refusal.into())
        });
        let answer = world.post(&path, &token, &json!({"plan_name": "basic-monthly"})).await;
        assert_eq!((answer.status, answer.json()["reason"].as_str()), (status, Some(reason)));
    }
}

/// BIL-22: a preview of a downgrade is asked as one, in the body or in the query, and never makes it.
#[tokio::test]
async fn a_downgrade_can_be_previewed() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    world.fake.on(&billing("DowngradeSubscription"), |asked: money::DowngradeSubscriptionRequest| {
        Ok(money::ChangeResponse {
            storage_used_bytes: Some(7),
            refusal: if asked.preview { "storage_exceeds_plan".into() } else { String::new() },
            moves_database: true,
            ..money::ChangeResponse::default()
        })
    });
    let path = format!("{B}/subscriptions/subscription/{}/downgrade", Uuid::now_v7());
    let plan = json!({"target_plan_name": "basic-monthly"});
    let asked = world.post(&format!("{path}?preview=true"), &token, &plan).await;
    assert_eq!(asked.status, 200, "{asked:?}");
    let shown = asked.json();
    assert_eq!((&shown["refusal"], &shown["status"]), (&json!("storage_exceeds_plan"), &json!("preview")));
    assert_eq!((&shown["storage_used_bytes"], &shown["moves_database"]), (&json!(7), &json!(true)));
    let body = json!({"target_plan_name": "basic-monthly", "preview": true});
    assert_eq!(world.post(&path, &token, &body).await.status, 200);
    let made = world.post(&path, &token, &plan).await;
    assert_eq!((made.status, &made.json()["refusal"]), (202, &json!(null)));
}
