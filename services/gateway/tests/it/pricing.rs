//! Coupons, rates of tax and findings (part 4 of the API).

use contracts::billing::v1 as pb;
use runtime::grpc::Refusal;
use runtime::identity::Role;
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use crate::world::{World, send};

const ADMIN: &str = "/billing/api/billing/admin";

fn rpc(method: &str) -> String {
    format!("saasodoo.billing.v1.{method}")
}

fn reason() -> &'static str {
    "asked for by marketing"
}

/// BIL-36: what the admin wrote arrives at billing-service, and fields are checked before it is asked.
#[tokio::test]
async fn a_coupon_is_made_and_changed() {
    let world = World::start().await;
    let admin = world.token(Role::Admin);
    world.fake.on(&rpc("PricingAdminService/CreateCoupon"), |request: pb::CreateCouponRequest| {
        Ok(pb::GetCouponResponse { coupon: request.coupon })
    });
    let path = format!("{ADMIN}/coupons");
    let made = world
        .post(
            &path,
            &admin,
            &json!({"code": "SPRING", "amount": {"amount_minor": 500, "currency": "USD"}, "max_uses": 10, "expires_at": "2027-01-01T00:00:00Z", "reason": reason()}),
        )
        .await;
    assert_eq!((made.status, made.header("location")), (201, "/billing/api/billing/admin/coupons/SPRING"));
    let coupon = &made.json()["coupon"];
    assert_eq!(coupon["amount"]["display"], "USD 5.00");
    assert_eq!((&coupon["percent_bp"], &coupon["once_per_customer"]), (&json!(null), &json!(true)));
    assert_eq!(coupon["expires_at"], "2027-01-01T00:00:00Z");
    for (bad, field) in [
        (json!({"code": "SPRING", "reason": reason()}), "percent_bp"),
        (json!({"code": "SPRING", "percent_bp": 0, "reason": reason()}), "percent_bp"),
        (json!({"code": "X", "percent_bp": 10, "reason": reason()}), "code"),
        (json!({"code": "SPRING", "percent_bp": 10, "reason": "no"}), "reason"),
        (json!({"code": "SPRING", "percent_bp": 10, "uses": 3, "reason": reason()}), "uses"),
    ] {
        let refused = world.post(&path, &admin, &bad).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]), "{bad}");
    }
    assert_eq!(
        world.fake.calls::<pb::CreateCouponRequest>(&rpc("PricingAdminService/CreateCoupon")).len(),
        1
    );

    world.fake.on(&rpc("PricingAdminService/ChangeCoupon"), |_: pb::ChangeCouponRequest| {
        let refusal = Refusal::new(Code::FailedPrecondition, "below_current_use", "the coupon was used");
        Err::<pb::GetCouponResponse, _>(refusal.into())
    });
    let change = world.request("PATCH", &format!("{path}/SPRING")).bearer_auth(&admin);
    let refused = send(change.json(&json!({"max_uses": 1, "reason": reason()}))).await;
    assert_eq!(refused.problem(), (409, "below_current_use".into()));
    let (_, asked) =
        world.fake.calls::<pb::ChangeCouponRequest>(&rpc("PricingAdminService/ChangeCoupon")).pop().unwrap();
    assert_eq!((asked.code.as_str(), asked.max_uses, asked.active), ("SPRING", Some(1), None));
}

/// GTW-14: lists of admins have pages and filters.
#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let world = World::start().await;
    let admin = world.token(Role::Admin);
    world.fake.on(&rpc("PricingAdminService/ListCoupons"), |request: pb::ListCouponsRequest| {
        assert_eq!((request.active, request.page, request.page_size), (Some(false), 2, 5));
        Ok(pb::ListCouponsResponse { coupons: vec![pb::Coupon::default()], total: 11 })
    });
    let found = world.get(&format!("{ADMIN}/coupons?active=false&page=2&page_size=5"), &admin).await;
    assert_eq!((found.status, found.json()["total"].as_u64()), (200, Some(11)));
    assert!(found.header("link").contains("active=false&page=3&page_size=5>; rel=\"next\""), "{found:?}");

    world.fake.on(&rpc("AuditAdminService/ListFindings"), |request: pb::ListFindingsRequest| {
        assert_eq!(
            (request.state.as_deref(), request.kind.as_deref()),
            (Some("open"), Some("balance_differs"))
        );
        let finding =
            pb::Finding { kind: "balance_differs".into(), state: "open".into(), ..Default::default() };
        Ok(pb::ListFindingsResponse { findings: vec![finding], total: 1 })
    });
    let found = world.get(&format!("{ADMIN}/findings?state=open&kind=balance_differs"), &admin).await;
    assert_eq!(found.json()["findings"][0]["acknowledged_at"], json!(null));
    assert_eq!(world.get(&format!("{ADMIN}/coupons?active=perhaps"), &admin).await.status, 422);
}

/// BIL-36: a rate has a country in its path and a day; neither may be anything else.
#[tokio::test]
async fn a_tax_rate_begins_on_a_day() {
    let world = World::start().await;
    let admin = world.token(Role::Admin);
    world.fake.on(&rpc("PricingAdminService/PutTaxRate"), |request: pb::PutTaxRateRequest| {
        Ok(pb::GetTaxRateResponse { rate: request.rate })
    });
    let put = |country: &str, body| {
        send(world.request("PUT", &format!("{ADMIN}/tax-rates/{country}")).bearer_auth(&admin).json(&body))
    };
    let body = json!({"name": "VAT", "rate_bp": 1900, "reverse_charge": true, "valid_from": "2027-01-01", "reason": "a new law"});
    let answer = put("de", body.clone()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let rate = &answer.json()["tax_rate"];
    assert_eq!((&rate["country"], &rate["valid_from"]), (&json!("DE"), &json!("2027-01-01")));
    assert_eq!(rate["valid_until"], json!(null));
    assert_eq!(put("germany", body.clone()).await.status, 404);
    for (field, value) in
        [("valid_from", json!("2027-02-30")), ("rate_bp", json!(10_001)), ("name", json!(""))]
    {
        let mut bad = body.clone();
        bad[field] = value;
        let refused = put("DE", bad).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]));
    }
}

/// BIL-36: what was planned is taken back by its day; what is in force then may be nothing.
#[tokio::test]
async fn a_planned_tax_rate_is_withdrawn() {
    let world = World::start().await;
    let admin = world.token(Role::Admin);
    world.fake.on(&rpc("PricingAdminService/WithdrawTaxRate"), |request: pb::WithdrawTaxRateRequest| {
        assert_eq!((request.country.as_str(), request.valid_from.as_str()), ("DE", "2028-01-01"));
        Ok(pb::WithdrawTaxRateResponse { rate: None })
    });
    let path = format!("{ADMIN}/tax-rates/de/withdraw");
    let answer =
        world.post(&path, &admin, &json!({"valid_from": "2028-01-01", "reason": "it was not passed"})).await;
    assert_eq!((answer.status, &answer.json()["tax_rate"]), (200, &json!(null)));
    for (body, field) in [
        (json!({"valid_from": "2028-01-32", "reason": "it was not passed"}), "valid_from"),
        (json!({"valid_from": "2028-01-01", "reason": "no"}), "reason"),
    ] {
        let refused = world.post(&path, &admin, &body).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]));
    }
    let body = json!({"valid_from": "2028-01-01", "reason": "it was not passed"});
    let refused = world.post(&path, &world.token(Role::Operator), &body).await;
    assert_eq!(refused.status, 403);
}

/// BIL-37: the audit is ordered with a reason, and answers before it is done.
#[tokio::test]
async fn the_audit_is_ordered_with_a_reason() {
    let world = World::start().await;
    let admin = world.token(Role::Admin);
    let task = Uuid::now_v7().to_string();
    let given = task.clone();
    world.fake.on(&rpc("AuditAdminService/RunAudit"), move |request: pb::RunAuditRequest| {
        assert_eq!(request.reason, "month end");
        Ok(pb::RunAuditResponse { task_id: given.clone() })
    });
    let path = format!("{ADMIN}/audits");
    let ordered = world.post(&path, &admin, &json!({"reason": "month end"})).await;
    assert_eq!((ordered.status, ordered.json()["task_id"].as_str()), (202, Some(task.as_str())));
    assert_eq!(world.post(&path, &admin, &json!({})).await.fields(), ["reason"]);
    for role in [Role::Customer, Role::Operator] {
        let refused = world.post(&path, &world.token(role), &json!({"reason": "month end"})).await;
        assert_eq!(refused.problem(), (403, "forbidden".into()));
    }
}
