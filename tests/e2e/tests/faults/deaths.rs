//! The worker dies after the steps of an operation, one after the other: after the effect and before the record (REL-01, REL-06).

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::{Stack, control};

/// Who dies.
const WORKER: &str = "instance-worker";
/// The lease of the dead one ends first, and the steps before are walked through again.
const DYING: Duration = Duration::from_mins(2);

/// One operation in which a worker dies after each of `steps`; the next worker does that step again and dies after the following one. `begin`
/// asks for the operation when the first worker is there; `meanwhile` is called at each death, with its step. In the end there is a whole worker,
/// whatever happened.
pub async fn after_each<T>(
    stack: &Stack,
    kind: &str,
    steps: &[&str],
    begin: impl AsyncFnOnce() -> anyhow::Result<T>,
    meanwhile: impl AsyncFn(&str) -> anyhow::Result<()>,
) -> anyhow::Result<T> {
    let outcome = async {
        let (mut begin, mut begun) = (Some(begin), None);
        for step in steps {
            let point = format!("{kind}.{step}");
            restart(stack, &[("WORKER_FAIL_POINT", point.as_str())], false).await?;
            if let Some(begin) = begin.take() {
                begun = Some(begin().await?);
            }
            death(stack).await.with_context(|| format!("after {point}"))?;
            meanwhile(step).await?;
        }
        begun.context("no step to die after")
    }
    .await;
    let whole = restart(stack, &[], true).await;
    let begun = outcome?;
    whole?;
    Ok(begun)
}

async fn restart(stack: &Stack, environment: &[(&str, &str)], whole: bool) -> anyhow::Result<()> {
    control::stop_service(stack, WORKER).await?;
    control::start_service(stack, WORKER, environment, whole).await
}

/// An error when it does not come: a panic, as of `eventually`, would leave the next tests without a worker.
async fn death(stack: &Stack) -> anyhow::Result<()> {
    let begun = Instant::now();
    while control::is_running(stack, WORKER).await? {
        ensure!(begun.elapsed() < DYING, "the worker lives on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
