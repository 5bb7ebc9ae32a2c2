//! How long work takes, one by one and in parallel.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};

/// The time of one.
pub async fn timed<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<Duration> {
    let start = Instant::now();
    work.await?;
    Ok(start.elapsed())
}

/// `count` of them, `concurrency` at a time: the whole time, and the time of each.
pub async fn many<F>(
    count: usize,
    concurrency: usize,
    work: impl Fn() -> F,
) -> anyhow::Result<(Duration, Vec<Duration>)>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let start = Instant::now();
    let times =
        stream::iter(0..count).map(|_| timed(work())).buffer_unordered(concurrency).try_collect().await?;
    Ok((start.elapsed(), times))
}
