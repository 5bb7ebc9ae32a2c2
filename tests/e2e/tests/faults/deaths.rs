//! The worker dies after the steps of an operation, one after the other: after the effect and before the
//! record (REL-01, REL-06).

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::{Stack, control};

/// Who dies.
const WORKER: &str = "instance-worker";
/// The lease of the dead one may have to end first, and the steps before are walked through again.
const DYING: Duration = Duration::from_mins(2);

/// The shortest life of a lease that there is: the next worker waits for its end.
const LEASE: (&str, &str) = ("WORKER_LEASE_SECONDS", "3");

/// Who comes after a worker that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The same pod with its container started again, as after most crashes: it bears the name of the dead
    /// one, and leads again at once.
    Restarted,
    /// Another pod, as after the loss of a node: it leads when the lead of the dead one has ended.
    Another,
}

impl Next {
    /// What every worker of the row is started with.
    fn environment(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Restarted => vec![LEASE, ("WORKER_ID", "dies-and-comes-back")],
            Self::Another => vec![LEASE],
        }
    }
}

/// One operation in which a worker dies after each of `steps`; the next worker does that step again and dies
/// after the following one. `begin` asks for the operation when the first worker is there; `meanwhile` is
/// called at each death, with its step. In the end there is a whole worker, whatever happened.
pub async fn after_each<T>(
    stack: &Stack,
    next: Next,
    kind: &str,
    steps: &[&str],
    begin: impl AsyncFnOnce() -> anyhow::Result<T>,
    meanwhile: impl AsyncFn(&str) -> anyhow::Result<()>,
) -> anyhow::Result<T> {
    let outcome = async {
        let (mut begin, mut begun) = (Some(begin), None);
        for step in steps {
            let point = format!("{kind}.{step}");
            let mut environment = next.environment();
            environment.push(("WORKER_FAIL_POINT", point.as_str()));
            match restart(stack, &environment, false).await {
                // The lease had ended by then: it took the operation up, and died, before it was ready.
                Err(early) if begun.is_some() && died_at(&early, &point) => {}
                ready => ready?,
            }
            if let Some(begin) = begin.take() {
                begun = Some(begin().await?);
            }
            death(stack).await.with_context(|| format!("after {point}"))?;
            meanwhile(step).await?;
        }
        begun.context("no step to die after")
    }
    .await;
    let whole = restart(stack, &next.environment(), true).await;
    let begun = outcome?;
    whole?;
    Ok(begun)
}

/// What the supervisor says of a service that ends at its start contains the end of its log.
fn died_at(error: &anyhow::Error, point: &str) -> bool {
    let text = format!("{error:#}");
    text.contains("SIGABRT") && text.contains("fail_point") && text.contains(point)
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
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
