//! Hooks from outside (BIL-30, BIL-31): the body arrives as it was sent, whatever the sender offers besides.

use contracts::billing::v1::ReceiveWebhookRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Status;

use crate::world::{World, send};

const METHOD: &str = "saasodoo.billing.v1.WebhookService/ReceiveWebhook";
const PATH: &str = "/billing/api/billing/webhooks/killbill/hush-hush-hush-hush";

/// As Kill Bill 0.24 offers it; a server that took the offer would lose the body.
#[tokio::test]
async fn an_offer_of_another_protocol_loses_no_body() {
    let world = World::start().await;
    let body = r#"{"eventType":"INVOICE_CREATION","accountId":"a","objectType":"INVOICE","objectId":"b","metaData":null}"#;
    let address = world.url.trim_start_matches("http://").to_owned();
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n\
         User-Agent: KillBill/1.0\r\nContent-Type: application/json; charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), "HTTP/1.1 200");
    let (_, stored) = world.fake.calls::<ReceiveWebhookRequest>(METHOD).pop().unwrap();
    assert_eq!(stored.body, body.as_bytes());
    assert_eq!((stored.provider.as_str(), stored.token.as_str()), ("killbill", "hush-hush-hush-hush"));
    assert_eq!(stored.content_type, "application/json; charset=UTF-8");
}

#[tokio::test]
async fn a_wrong_token_is_a_page_that_does_not_exist() {
    let world = World::start().await;
    world.fake.on(METHOD, |_: ReceiveWebhookRequest| Err::<(), _>(Status::not_found("hook")));
    let answer = send(world.client.post(format!("{}{PATH}", world.url)).body("no JSON at all")).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    // Neither log nor answer repeats the secret.
    assert!(!answer.text.contains("hush"), "{answer:?}");
}
