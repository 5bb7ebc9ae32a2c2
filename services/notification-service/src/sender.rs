//! Sends what is due: woken by NOTIFY, with a sweep behind it; as many mails at once as there are
//! connections.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use runtime::clock;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::breaker::{Breaker, Permit};
use crate::clients::{Account, Customers, Lookup};
use crate::domain::{Failure, Next, after_failure};
use crate::metrics::{Attempt, MailMetrics};
use crate::smtp::{Mailer, Outgoing};
use crate::store::{self, Claimed, Outcome, Rate};
use crate::templates::{self, Page, Recipient, Rendered};

/// Looks for due mails at least this often.
const SWEEP: Duration = Duration::from_secs(1);

/// How fast the senders go.
#[derive(Debug, Clone, Copy)]
pub struct Throttle {
    /// Global limits.
    pub rate: Rate,
    /// Mails in work at once.
    pub at_once: usize,
    /// Pause after the first failed attempt.
    pub retry_base: time::Duration,
    /// How long a claimed mail is ours.
    pub lease: Duration,
}

/// What one attempt needs.
#[derive(Debug)]
struct Attempts {
    pool: PgPool,
    customers: Customers,
    mailer: Mailer,
    page: Page,
    breaker: Breaker,
    /// No mail is claimed before this: user-service did not answer.
    lookups_from: Mutex<Option<Instant>>,
    metrics: MailMetrics,
    retry_base: time::Duration,
}

/// The senders of this process.
#[derive(Debug)]
pub struct Sender {
    context: Arc<Attempts>,
    throttle: Throttle,
}

impl Sender {
    /// Nothing runs before [`Sender::run`].
    pub fn new(
        pool: &PgPool,
        customers: Customers,
        mailer: Mailer,
        page: Page,
        throttle: Throttle,
        metrics: MailMetrics,
    ) -> Self {
        let first_pause =
            Duration::try_from(throttle.retry_base).unwrap_or_default().min(Duration::from_secs(5));
        let context = Attempts {
            pool: pool.clone(),
            customers,
            mailer,
            page,
            breaker: Breaker::new(first_pause, throttle.lease),
            lookups_from: Mutex::new(None),
            metrics,
            retry_base: throttle.retry_base,
        };
        Self { context: Arc::new(context), throttle }
    }

    /// Runs until `stop`; mails in work are finished.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut work = JoinSet::new();
        let mut listener = None;
        let mut tick = tokio::time::interval(SWEEP);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            if listener.is_none() {
                listener = self.listen().await;
            }
            if let Err(error) = self.start_due(&mut work).await {
                tracing::warn!(error = format!("{error:#}"), "the mail queue cannot be read, trying again");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                _ = tick.tick() => self.measure().await,
                Some(ended) = work.join_next() => ended.context("a sender panicked")?,
                lost = woken(&mut listener) => if lost { listener = None; tokio::time::sleep(Duration::from_millis(200)).await; },
            }
        }
        while let Some(ended) = work.join_next().await {
            ended.context("a sender panicked")?;
        }
        Ok(())
    }

    async fn listen(&self) -> Option<PgListener> {
        let connect = async {
            let mut listener = PgListener::connect_with(&self.context.pool).await?;
            listener.listen("emails").await?;
            Ok::<_, sqlx::Error>(listener)
        };
        match connect.await {
            Ok(listener) => Some(listener),
            Err(error) => {
                tracing::warn!(error = %error, "cannot listen for new mails, the sweep finds them");
                None
            }
        }
    }

    /// Claims as much as free hands, rate and circuit allow, and starts it.
    async fn start_due(&self, work: &mut JoinSet<()>) -> anyhow::Result<()> {
        loop {
            let free = self.throttle.at_once.saturating_sub(work.len());
            if free == 0 || self.context.waits_for_lookups() {
                return Ok(());
            }
            let permit = self.context.breaker.permit(Instant::now());
            let wanted = match permit {
                Permit::All => free,
                Permit::One => 1,
                Permit::Nothing(_) => return Ok(()),
            };
            let wanted = i64::try_from(wanted).unwrap_or(1);
            let claimed =
                store::claim(&self.context.pool, wanted, self.throttle.rate, self.throttle.lease).await;
            if permit == Permit::One && !matches!(&claimed, Ok(claimed) if !claimed.is_empty()) {
                self.context.breaker.unused(Instant::now());
            }
            let claimed = claimed.context("cannot claim")?;
            let all = i64::try_from(claimed.len()).unwrap_or(0) < wanted;
            for mail in claimed {
                let context = Arc::clone(&self.context);
                work.spawn(async move { context.attempt(mail).await });
            }
            if all {
                return Ok(());
            }
        }
    }

    async fn measure(&self) {
        let metrics = &self.context.metrics;
        metrics.circuit_open.set(i64::from(self.context.breaker.is_open()));
        if let Ok(depth) = store::depth(&self.context.pool).await {
            metrics.depth.set(depth);
        }
        if let Ok(age) = store::oldest_waiting_seconds(&self.context.pool).await {
            metrics.oldest_seconds.set(age);
        }
    }
}

/// Waits for a notification; `true`: the listening connection is lost. Without one it waits for ever.
async fn woken(listener: &mut Option<PgListener>) -> bool {
    match listener {
        Some(listener) => listener.recv().await.is_err(),
        None => std::future::pending().await,
    }
}

impl Attempts {
    /// One attempt, from the look-up to the row.
    async fn attempt(&self, mail: Claimed) {
        let (outcome, served) = self.deliver(&mail).await;
        let word = match &outcome {
            Ended::Sent { .. } => "sent",
            Ended::Deferred(..) => "deferred",
            Ended::Postponed(..) => "postponed",
            Ended::Failed(_) => "failed",
            Ended::Cancelled(_) => "cancelled",
        };
        self.metrics
            .attempts
            .get_or_create(&Attempt { template: mail.template_name.clone(), outcome: word })
            .inc();
        let row = match &outcome {
            Ended::Sent { recipient } => {
                tracing::info!(email.id = %mail.id, template = mail.template_name, "mail sent");
                self.metrics.delivery_seconds.observe((clock::now() - mail.created_at).as_seconds_f64());
                Outcome::Sent { recipient }
            }
            Ended::Deferred(pause, error) => {
                tracing::warn!(email.id = %mail.id, attempt = mail.attempts, error, "mail is tried again");
                Outcome::Deferred { pause: pause.as_seconds_f64(), error }
            }
            Ended::Postponed(pause, error) => {
                tracing::warn!(email.id = %mail.id, error, "mail waits");
                Outcome::Postponed { pause: pause.as_seconds_f64(), error }
            }
            Ended::Failed(error) => {
                tracing::error!(email.id = %mail.id, template = mail.template_name, error, "mail failed");
                Outcome::Failed { error }
            }
            Ended::Cancelled(error) => Outcome::Cancelled { error },
        };
        match store::settle(&self.pool, &mail, row, served).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(email.id = %mail.id, "another sender had taken the mail over"),
            // The lease ends, and the mail is tried again: at least once, with the same Message-ID.
            Err(error) => tracing::error!(email.id = %mail.id, error = %error, "outcome of a mail is lost"),
        }
    }

    /// Does user-service not answer? Then mails wait where they are.
    fn waits_for_lookups(&self) -> bool {
        let from = *self.lookups_from.lock().unwrap_or_else(PoisonError::into_inner);
        from.is_some_and(|from| Instant::now() < from)
    }

    /// What becomes of a mail, and whether the mail server had it.
    async fn deliver(&self, mail: &Claimed) -> (Ended, bool) {
        let (account, content) = match self.prepare(mail).await {
            Ok(prepared) => prepared,
            Err(ended) => {
                self.breaker.unused(Instant::now());
                return (ended, false);
            }
        };
        if let Err(error) = store::remember_recipient(&self.pool, mail, &account.email).await {
            tracing::warn!(email.id = %mail.id, error = %error, "the recipient is not in the history yet");
        }
        let outgoing = Outgoing {
            recipient: &account.email,
            message_id: &mail.message_id,
            date: clock::now(),
            switchable: mail.switchable,
            content: &content,
        };
        let start = Instant::now();
        let sent = self.mailer.send(outgoing).await;
        self.metrics.smtp_seconds.observe(start.elapsed().as_secs_f64());
        match sent {
            Ok(()) => {
                self.breaker.succeeded();
                (Ended::Sent { recipient: account.email }, true)
            }
            Err(failure) => {
                let served = !matches!(failure, Failure::Connection(_));
                (self.judge(&failure, mail.attempts), served)
            }
        }
    }

    /// The account and the words, or how the mail ends without them.
    async fn prepare(&self, mail: &Claimed) -> Result<(Account, Rendered), Ended> {
        let account = match self.customers.find(mail.customer_id).await {
            Lookup::Found(account) => account,
            Lookup::Unknown => return Err(Ended::Cancelled("the account does not exist".into())),
            Lookup::Away(error) => {
                let pause = self.retry_base.min(time::Duration::seconds(5));
                let from = Instant::now() + Duration::try_from(pause).unwrap_or_default();
                *self.lookups_from.lock().unwrap_or_else(PoisonError::into_inner) = Some(from);
                return Err(Ended::Postponed(pause, error));
            }
        };
        if mail.switchable && !mail.test && !account.instance_mails {
            return Err(Ended::Cancelled("switched off by the customer".into()));
        }
        match self.content(mail, &account) {
            Ok(content) => Ok((account, content)),
            Err(error) => Err(Ended::Failed(format!("{error:#}"))),
        }
    }

    fn judge(&self, failure: &Failure, attempts: i32) -> Ended {
        match failure {
            Failure::Connection(_) => self.breaker.failed(Instant::now()),
            Failure::Transient(_) | Failure::Permanent(_) => self.breaker.succeeded(),
        }
        let text = failure.text().to_owned();
        match after_failure(failure, u32::try_from(attempts).unwrap_or(1), self.retry_base) {
            Next::Again(pause) => Ended::Deferred(pause, text),
            Next::Stop => Ended::Failed(text),
        }
    }

    fn content(&self, mail: &Claimed, account: &Account) -> anyhow::Result<Rendered> {
        let entry = templates::find(&mail.template_name).context("the template does not exist any more")?;
        // Until the address is proved, the name may be anybody's words to its owner.
        let first_name = if account.is_verified { account.first_name.clone() } else { String::new() };
        let to = Recipient { first_name };
        let mut content = entry.render(mail.variables.clone(), &to, &self.page).context("cannot render")?;
        if mail.test {
            content.subject.insert_str(0, "[Test] ");
        }
        Ok(content)
    }
}

/// How an attempt ended.
#[derive(Debug)]
enum Ended {
    Sent { recipient: String },
    Deferred(time::Duration, String),
    Postponed(time::Duration, String),
    Failed(String),
    Cancelled(String),
}
