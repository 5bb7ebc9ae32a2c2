//! Clients that do not keep to the manners of HTTP, or ask without end.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::{Customer, Stack};
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long the public port waits for the head of a request, and some more.
const PATIENCE: Duration = Duration::from_secs(45);

async fn socket(stack: &Stack) -> anyhow::Result<TcpStream> {
    let address = stack.api.strip_prefix("http://").context("the local API is plain HTTP")?;
    Ok(TcpStream::connect(address.trim_end_matches('/')).await?)
}

/// The status line of the answer to these bytes; empty when the connection was closed.
async fn says(stack: &Stack, request: &[u8]) -> anyhow::Result<String> {
    let mut stream = socket(stack).await?;
    stream.write_all(request).await?;
    let mut answer = vec![0; 1024];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await??;
    let text = String::from_utf8_lossy(&answer[..read]).into_owned();
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// GTW-11: a head that comes a byte at a time, or not at all, does not hold a connection.
#[tokio::test]
async fn slow_heads_are_cut_off() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let mut slow = Vec::new();
    for number in 0..25 {
        let mut stream = socket(&stack).await?;
        if number < 20 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await?;
        }
        slow.push(stream);
    }
    let ends = slow.into_iter().map(|mut stream| async move {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, async {
            loop {
                tokio::select! {
                    read = stream.read_buf(&mut rest) => match read {
                        Ok(0) | Err(_) => return,
                        Ok(_) => {}
                    },
                    // A byte now and then, as such clients send them.
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
                if stream.try_write(b"a").is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock) {
                    return;
                }
            }
        });
        read.await.is_ok()
    });
    let ended = futures::future::join_all(ends).await;
    let open = ended.iter().filter(|ended| !**ended).count();
    ensure!(open == 0, "{open} of 25 slow connections are still open after {PATIENCE:?}");
    Ok(())
}

/// GTW-11: HTTP/1.1 without a host, or with two of them, is refused.
#[tokio::test]
async fn requests_name_one_host() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    for head in ["GET /health HTTP/1.1\r\n\r\n", "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"] {
        let said = says(&stack, head.as_bytes()).await?;
        ensure!(said.contains(" 400 "), "{head:?}: {said:?}");
    }
    let said = says(&stack, b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
    ensure!(said.contains(" 200 "), "{said:?}");
    Ok(())
}

/// GTW-11, USR-11: event streams of one account are few, and end with its session.
#[tokio::test]
async fn event_streams_are_few_and_end_with_their_session() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "streams").await?;
    let made = ada.create_running("Streams").await?;
    let id = made["id"].as_str().context("id")?;
    // The instance that does nothing has a stream that stays open: that of an operation under way.
    let begun = ada.act(id, "restart").await?.expect(202)?;
    let operation = begun["operation_id"].as_str().context("operation")?;
    let path = format!("/instance/instances/{id}/operations/{operation}/stream");
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..60 {
        let response = client.get(format!("{}{path}", stack.api)).bearer_auth(ada.token()).send().await?;
        match response.status().as_u16() {
            200 => open.push(response),
            429 | 503 => refused += 1,
            other => anyhow::bail!("{other}"),
        }
    }
    ensure!(refused > 0, "{} streams of one account are open at once", open.len());

    ada.send(Method::POST, "/user/auth/logout", None).await?;
    for mut response in open {
        let ended =
            tokio::time::timeout(PATIENCE, async { while let Ok(Some(_)) = response.chunk().await {} });
        ensure!(ended.await.is_ok(), "a stream outlives its session");
    }
    Ok(())
}

/// GTW-02: a crowd that asks for health is answered or told to wait, and brings nothing down. That the services
/// are asked once for all of them is held by the gateway's tests.
#[tokio::test]
async fn a_crowd_at_the_health_pages_brings_nothing_down() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    for _ in 0..30 {
        let asks = (0..20).map(|_| client.get(format!("{}/user/health/database", stack.api)).send());
        for response in futures::future::try_join_all(asks).await? {
            *statuses.entry(response.status().as_u16()).or_default() += 1;
        }
    }
    ensure!(statuses.keys().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    Ok(())
}
