//! Create → 201, at several numbers of concurrent clients and at a fixed rate; beside it the same number of
//! health calls as the floor of HTTP.

use std::time::{Duration, Instant};

use e2e::Customer;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::figures::Figures;

/// Concurrent clients and requests of each run.
const RUNS: [(usize, usize); 3] = [(1, 40), (10, 100), (50, 150)];
/// Requests per second of the run at a fixed rate, and their number.
const RATE: (u32, u32) = (50, 200);

/// Runs all; each begins when the instances of the one before run. Requests come from all customers in turn,
/// but for the last run.
pub async fn measure(customers: &[Customer], figures: &mut Figures) -> anyhow::Result<()> {
    let of = |i: usize| &customers[i % customers.len()];
    for (clients, requests) in RUNS {
        let floor =
            closed(clients, requests, |i| async move { of(i).get("/health").await?.expect(200).map(drop) })
                .await?;
        figures.add_times(&format!("floor: GET /health, {clients} clients"), &floor, [None, None]);
        let times = closed(clients, requests, |i| async move {
            of(i).create(&format!("Accept {clients} {i}")).await.map(drop)
        })
        .await?;
        figures.add_times(&format!("create → 201, {clients} clients"), &times, [None, None]);
        settled(customers).await?;
    }
    let times = open(customers).await?;
    figures.add_times("create → 201, 50 requests/s", &times, [Some("≤ 15"), Some("≤ 60")]);
    settled(customers).await?;
    // Those of one customer wait for each other: his quota and his account are one row each.
    let times = open(&customers[..1]).await?;
    figures.add_times("create → 201, 50 requests/s of one customer", &times, [None, None]);
    settled(customers).await
}

async fn settled(customers: &[Customer]) -> anyhow::Result<()> {
    for customer in customers {
        super::all_running(customer).await?;
    }
    Ok(())
}

/// Each client sends its next request when the last was answered.
async fn closed<F, Fut>(clients: usize, requests: usize, call: F) -> anyhow::Result<Vec<Duration>>
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    stream::iter(0..requests)
        .map(|i| {
            let call = &call;
            async move {
                let start = Instant::now();
                call(i).await?;
                anyhow::Ok(start.elapsed())
            }
        })
        .buffer_unordered(clients)
        .try_collect()
        .await
}

/// Requests leave at a fixed rate, whatever the answers do; the time counts from when a request should have
/// left.
async fn open(customers: &[Customer]) -> anyhow::Result<Vec<Duration>> {
    let (rate, requests) = RATE;
    let begin = tokio::time::Instant::now();
    let calls = (0..requests).zip(customers.iter().cycle()).map(|(i, customer)| async move {
        let due = begin + Duration::from_secs(1) * i / rate;
        tokio::time::sleep_until(due).await;
        customer.create(&format!("Rate {i}")).await?;
        anyhow::Ok(due.elapsed())
    });
    futures::future::try_join_all(calls).await
}
