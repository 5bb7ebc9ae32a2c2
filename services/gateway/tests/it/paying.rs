//! Payments through a gateway, its results, refunds and credits (part 4 of the API).

use contracts::billing::v1::{
    GetPaymentOutcomeResponse, GetPaymentRequest, GetPaymentResponse, GiveCreditRequest, GiveCreditResponse,
    InitiatePaymentRequest, InitiatePaymentResponse, Money, Payment, ReceiveWebhookRequest,
    ReceiveWebhookResponse, RefundPaymentRequest, RefundPaymentResponse,
};
use gateway::config::Config;
use runtime::grpc::Refusal;
use runtime::identity::Role;
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use crate::world::{Answer, World, send};

const BILLING: &str = "/billing/api/billing";
const FORM: &str = "application/x-www-form-urlencoded";

fn rpc(method: &str) -> String {
    format!("saasodoo.billing.v1.{method}")
}

fn payment(id: &str, state: &str) -> Payment {
    Payment {
        id: id.into(),
        reference: "INV-000001-0a11".into(),
        state: state.into(),
        method: "ecocash".into(),
        gateway: "paynow".into(),
        gateway_status: "Sent".into(),
        amount: Some(Money { amount_minor: 900, currency: "USD".into() }),
        ..Payment::default()
    }
}

/// BIL-27: a customer begins a payment and watches it; fields are checked before anybody is asked.
#[tokio::test]
async fn a_payment_is_begun_and_watched() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    world.fake.on(&rpc("PaymentService/InitiatePayment"), |request: InitiatePaymentRequest| {
        let mut begun = payment(&Uuid::now_v7().to_string(), "pending");
        if request.method == "card" {
            begun.redirect_url = "https://www.paynow.co.zw/Payment/ConfirmPayment/1".into();
        }
        Ok(InitiatePaymentResponse {
            payment: Some(begun),
            payment_type: request.phone,
            message: "go on".into(),
        })
    });
    let path = format!("{BILLING}/payments/paynow/initiate");
    let invoice = Uuid::now_v7();
    let begun = world
        .post(
            &path,
            &token,
            &json!({"invoice_id": invoice, "payment_method": "ecocash", "phone": "0771111111"}),
        )
        .await;
    let body = begun.json();
    assert_eq!(
        (begun.status, &body["status"], &body["payment_type"], &body["redirect_url"]),
        (201, &json!("pending"), &json!("0771111111"), &json!(null))
    );
    let card =
        world.post(&path, &token, &json!({"invoice_id": invoice, "payment_method": "card"})).await.json();
    assert!(card["redirect_url"].as_str().unwrap().starts_with("https://www.paynow"), "{card}");
    for (bad, field) in [
        (json!({"invoice_id": invoice, "payment_method": "cash"}), "payment_method"),
        (json!({"invoice_id": invoice, "payment_method": "ecocash"}), "phone"),
        (json!({"invoice_id": invoice, "payment_method": "onemoney", "phone": "+263771111111"}), "phone"),
        (json!({"invoice_id": invoice, "payment_method": "card", "phone": "0771111111"}), "phone"),
        (
            json!({"invoice_id": invoice, "payment_method": "card", "card_number": "4111111111111111"}),
            "card_number",
        ),
    ] {
        let refused = world.post(&path, &token, &bad).await;
        assert_eq!((refused.problem().0, refused.fields()), (422, vec![field.to_owned()]), "{bad}");
    }
    let calls = world.fake.calls::<InitiatePaymentRequest>(&rpc("PaymentService/InitiatePayment"));
    assert!(
        calls.len() == 2 && calls.iter().all(|(_, call)| call.gateway == "paynow" && call.amount.is_none())
    );

    world.fake.on(&rpc("PaymentService/GetPayment"), |request: GetPaymentRequest| {
        Ok(GetPaymentResponse { payment: Some(payment(&request.payment_id, "pending")) })
    });
    let shown = world.get(begun.header("location"), &token).await.json();
    assert_eq!(
        (&shown["status"], &shown["gateway_status"], &shown["amount"]["display"], &shown["payment_method"]),
        (&json!("pending"), &json!("Sent"), &json!("USD 9.00"), &json!("ecocash"))
    );
}

/// BIL-27: what the payment provider says no to is 502, a payment that waits is 409, a provider that is off
/// is 503.
#[tokio::test]
async fn refusals_of_the_payment_provider_have_their_status() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    for (code, reason, status) in [
        (Code::FailedPrecondition, "gateway_refused", 502),
        (Code::FailedPrecondition, "payment_pending", 409),
        (Code::FailedPrecondition, "invoice_not_open", 409),
        (Code::Unavailable, "unavailable", 503),
    ] {
        world.fake.on(&rpc("PaymentService/InitiatePayment"), move |_: InitiatePaymentRequest| {
            Err::<InitiatePaymentResponse, _>(Refusal::new(code, reason, "no").into())
        });
        let body = json!({"invoice_id": Uuid::now_v7(), "payment_method": "card"});
        let answer = world.post(&format!("{BILLING}/payments/paynow/initiate"), &token, &body).await;
        assert_eq!(answer.problem(), (status, reason.to_owned()));
    }
}

async fn result(world: &World, kind: &str, body: Vec<u8>) -> Answer {
    let request = world.request("POST", &format!("{BILLING}/webhooks/paynow"));
    send(request.header("content-type", kind).body(body)).await
}

/// BIL-27, BIL-30: a result goes on byte by byte and needs no token; a wrong hash is 400; what is too large
/// or no form does not go on.
#[tokio::test]
async fn a_result_is_passed_on_as_it_came() {
    let world = World::start().await;
    world.fake.on(&rpc("WebhookService/ReceiveWebhook"), |request: ReceiveWebhookRequest| {
        if request.body.ends_with(b"BAD") {
            return Err(
                Refusal::new(Code::InvalidArgument, "bad_hash", "the hash of the message is wrong").into()
            );
        }
        Ok(ReceiveWebhookResponse { webhook_id: Uuid::now_v7().to_string() })
    });
    let body = b"reference=INV-1&amount=9.00&blank=&status=Awaiting+Delivery&pollurl=https%3a%2f%2fx&Hash=AB"
        .to_vec();
    let kept = result(&world, &format!("{FORM}; charset=utf-8"), body.clone()).await;
    assert_eq!((kept.status, kept.text.as_str()), (200, "ok"));
    let calls = world.fake.calls::<ReceiveWebhookRequest>(&rpc("WebhookService/ReceiveWebhook"));
    assert_eq!((calls[0].1.body.clone(), calls[0].1.provider.as_str()), (body, "paynow"));
    assert!(!calls[0].0.contains_key("authorization") || calls[0].1.token.is_empty());
    assert_eq!(result(&world, FORM, b"hash=BAD".to_vec()).await.problem(), (400, "bad_hash".into()));
    assert_eq!(result(&world, "application/json", b"{}".to_vec()).await.status, 415);
    assert_eq!(result(&world, FORM, vec![b'a'; 17 * 1024]).await.status, 413);
    assert_eq!(result(&world, FORM, vec![b'a'; 2 * 1024 * 1024]).await.status, 413);
    assert_eq!(world.fake.calls::<ReceiveWebhookRequest>(&rpc("WebhookService/ReceiveWebhook")).len(), 2);
}

/// GTW-08: results have a limit of their own.
#[tokio::test]
async fn results_are_limited_by_address() {
    let world =
        World::start_with(|config: &mut Config| config.limits.rate_limit_webhook_per_minute = 5).await;
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(result(&world, FORM, b"a=1&hash=x".to_vec()).await.status);
    }
    assert_eq!(statuses[..5], [200; 5]);
    assert!(statuses[6..].iter().all(|status| *status == 429), "{statuses:?}");
}

/// BIL-29: refunds are for admins, with a reason and a key.
#[tokio::test]
async fn admins_give_money_back() {
    let world = World::start().await;
    let admin = world.token(Role::Admin);
    world.fake.on(&rpc("BillingAdminService/RefundPayment"), |request: RefundPaymentRequest| {
        if request.amount.as_ref().is_some_and(|amount| amount.amount_minor > 900) {
            return Err(Refusal::new(Code::FailedPrecondition, "not_refundable", "not so much").into());
        }
        let refunded = Payment { refunded: request.amount, ..payment(&request.payment_id, "paid") };
        let refund_id = request.idempotency_key;
        Ok(RefundPaymentResponse { payment: Some(refunded), refund_id, state: "waiting".into() })
    });
    let path = format!("{BILLING}/admin/payments/{}/refund", Uuid::now_v7());
    let body =
        |minor: i64| json!({"amount": {"amount_minor": minor, "currency": "USD"}, "reason": "asked for it"});
    let refund = |minor: i64| {
        send(
            world
                .request("POST", &path)
                .bearer_auth(&admin)
                .header("idempotency-key", "k-1")
                .json(&body(minor)),
        )
    };
    let done = refund(400).await;
    assert_eq!(
        (done.status, &done.json()["refund_id"], &done.json()["payment"]["refunded"]["amount_minor"]),
        (201, &json!("k-1"), &json!(400))
    );
    assert_eq!(refund(901).await.problem(), (409, "not_refundable".into()));
    assert_eq!(refund(0).await.fields(), ["amount"]);
    for role in [Role::Customer, Role::Operator] {
        assert_eq!(world.post(&path, &world.token(role), &body(1)).await.status, 403);
    }
}

/// BIL-29: without its key no credit is given.
#[tokio::test]
async fn a_credit_needs_its_key() {
    let world = World::start().await;
    let admin = world.token(Role::Admin);
    world.fake.on(&rpc("BillingAdminService/GiveCredit"), |request: GiveCreditRequest| {
        Ok(GiveCreditResponse { credit_id: request.idempotency_key, credit: None })
    });
    let path = format!("{BILLING}/admin/credits");
    let amount = json!({"amount_minor": 500, "currency": "USD"});
    let body = json!({"customer_id": Uuid::now_v7(), "amount": amount, "reason": "a bad day"});
    assert_eq!(world.post(&path, &admin, &body).await.fields(), ["Idempotency-Key"]);
    let given =
        send(world.request("POST", &path).bearer_auth(&admin).header("idempotency-key", "k-1").json(&body))
            .await;
    assert_eq!((given.status, &given.json()["credit_id"]), (201, &json!("k-1")));
}

/// BIL-27: who comes back from the payment provider reads how the payment stands, without a sign-in, a
/// script, or a word about whose it is.
#[tokio::test]
async fn the_page_after_a_payment_tells_how_it_stands() {
    let world = World::start().await;
    let [paid, pending, gone, away] = std::array::from_fn(|_| Uuid::now_v7());
    world.fake.on(&rpc("PaymentService/GetPaymentOutcome"), move |request: GetPaymentRequest| {
        let state = match request.payment_id.parse::<Uuid>().unwrap() {
            id if id == paid => "paid",
            id if id == pending => "pending",
            id if id == gone => return Err(tonic::Status::not_found("payment")),
            _ => return Err(tonic::Status::unavailable("away")),
        };
        Ok(GetPaymentOutcomeResponse { state: state.into() })
    });
    let page = async |id: &str| {
        let page = send(world.request("GET", &format!("/billing/payment-status?payment={id}"))).await;
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(
            (page.header("cache-control"), page.header("referrer-policy")),
            ("no-store", "no-referrer")
        );
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
        assert!(!page.text.contains("<script"), "{page:?}");
        (page.status, page.text)
    };
    for (id, status, words, refreshed) in [
        (paid.to_string(), 200, "has arrived", false),
        (pending.to_string(), 200, "on its way", true),
        (gone.to_string(), 404, "no such payment", false),
        (away.to_string(), 503, "cannot look", true),
        ("\"><script>alert(1)</script>".to_owned(), 400, "no such payment", false),
        (String::new(), 400, "no such payment", false),
    ] {
        let (found, text) = page(&id).await;
        assert_eq!((found, text.contains(words)), (status, true), "{id}: {text}");
        assert_eq!(text.contains("http-equiv=\"refresh\""), refreshed, "{id}: {text}");
        assert!(!text.contains("href"), "a page of the portal, which is not there yet: {text}");
    }
}

/// SEC-01: the invoices of somebody else's subscription are not an empty list.
#[tokio::test]
async fn invoices_of_a_foreign_subscription_are_not_found() {
    use contracts::billing::v1::{GetSubscriptionRequest, GetSubscriptionResponse};
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let own = Uuid::now_v7().to_string();
    let known = own.clone();
    world.fake.on(
        "saasodoo.billing.v1.BillingService/GetSubscription",
        move |asked: GetSubscriptionRequest| {
            if asked.subscription_id == known {
                return Ok(GetSubscriptionResponse::default());
            }
            Err(tonic::Status::not_found("subscription"))
        },
    );
    let path = |id: &str| format!("/billing/api/billing/subscriptions/subscription/{id}/invoices");
    assert_eq!(world.get(&path(&own), &token).await.status, 200);
    let foreign = world.get(&path(&Uuid::now_v7().to_string()), &token).await;
    assert_eq!(foreign.problem(), (404, "not_found".into()));
}
