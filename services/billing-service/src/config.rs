//! Settings of billing-service: one clap struct, names of requirements part 14.

mod paying;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use runtime::config::{Common, Environment, Postgres, Rabbit, ServiceIdentity, UserTokens, require_strong};
use runtime::database::Owned;
use secrecy::{ExposeSecret as _, SecretString};

pub use paying::Paying;

use crate::app::settings::{BillingSettings, DocumentSettings};
use crate::domain::catalogue::Catalogue;
use crate::domain::document::Seller;
use crate::domain::dunning::DunningRules;
use crate::domain::subscription::ProvisionPolicy;
use crate::pdf::Fonts;
use crate::provider;

/// Database and role that this service owns.
pub const OWNED: Owned = Owned { database: "billing", role: "billing_service" };

/// Plans, orders, subscriptions, trials.
#[derive(Debug, Parser)]
#[command(name = "billing-service", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until stopped
    Serve(Box<Config>),
    /// Apply the database migrations and the catalogue, and end
    Migrate(Box<Migrate>),
    /// Put dead messages back into their queues, and end
    Redrive(Box<messaging::Redrive>),
}

/// Settings of `migrate`.
#[derive(Debug, Clone, Args)]
pub struct Migrate {
    #[command(flatten)]
    /// Shared settings.
    pub common: Common,
    #[command(flatten)]
    /// Own database.
    pub postgres: Postgres,
    #[command(flatten)]
    /// What is sold.
    pub selling: Selling,
}

/// Settings of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    /// Shared settings.
    pub common: Common,
    #[command(flatten)]
    /// Own database.
    pub postgres: Postgres,
    #[command(flatten)]
    /// The message broker.
    pub rabbit: Rabbit,
    #[command(flatten)]
    /// Verification of access tokens.
    pub users: UserTokens,
    #[command(flatten)]
    /// Identity between services.
    pub identity: ServiceIdentity,
    /// Port of /health, /health/ready and /metrics
    #[arg(long, env = "HTTP_PORT", default_value_t = 8004)]
    pub http_port: u16,
    /// gRPC address of user-service
    #[arg(long, env = "USER_SERVICE_URL", default_value = "http://user-service:50051")]
    pub user_service_url: String,
    /// gRPC address of instance-service
    #[arg(long, env = "INSTANCE_SERVICE_URL", default_value = "http://instance-service:50051")]
    pub instance_service_url: String,
    #[command(flatten)]
    /// What is sold.
    pub selling: Selling,
    /// Who keeps the books
    #[arg(long, env = "BILLING_PROVIDER", value_enum, default_value = "ledger")]
    pub billing_provider: provider::Name,
    #[command(flatten)]
    /// The other keeper of the books.
    pub killbill: KillBill,
    /// When provisioning may begin; default on_invoice, in production on_payment
    #[arg(long, env = "BILLING_PROVISION_POLICY", value_enum)]
    pub billing_provision_policy: Option<ProvisionPolicy>,
    /// Hour of the nightly audit, UTC
    #[arg(long, env = "BILLING_AUDIT_HOUR", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=23))]
    pub audit_hour: u8,
    /// What happens when a trial cannot be checked: it is not given
    #[arg(long, env = "TRIAL_ELIGIBILITY_FAIL_BEHAVIOR", value_enum, default_value = "closed")]
    pub trial_eligibility_fail_behavior: FailBehavior,
    #[command(flatten)]
    /// Times of orders.
    pub orders: Orders,
    #[command(flatten)]
    /// Invoices and the ladder.
    pub invoicing: Invoicing,
    #[command(flatten)]
    /// Payments through gateways.
    pub paying: Paying,
}

/// Invoices and the ladder.
#[derive(Debug, Clone, Args)]
pub struct Invoicing {
    /// Prefix of the numbers of invoices
    #[arg(long, env = "INVOICE_ISSUER", default_value = "INV")]
    pub invoice_issuer: String,
    /// Days from issue to due
    #[arg(long, env = "INVOICE_DUE_DAYS", default_value_t = 0)]
    pub invoice_due_days: u16,
    /// Days after the due date: warned, plan changes blocked
    #[arg(long, env = "OVERDUE_WARNING_DAYS", default_value_t = 10)]
    pub overdue_warning_days: u16,
    /// Days after the due date: suspended
    #[arg(long, env = "OVERDUE_SUSPEND_DAYS", default_value_t = 14)]
    pub overdue_suspend_days: u16,
    /// Days after the due date: terminated
    #[arg(long, env = "OVERDUE_TERMINATE_DAYS", default_value_t = 21)]
    pub overdue_terminate_days: u16,
    /// Days before the end of a trial at which a mail is sent
    #[arg(long, env = "TRIAL_WARNING_DAYS", value_delimiter = ',', default_value = "7,3,1")]
    pub trial_warning_days: Vec<u16>,
    /// Days that data of a terminated instance is kept, as mails say it
    #[arg(long, env = "RETENTION_DAYS", default_value_t = 30)]
    pub retention_days: u16,
    /// Name of the company that sells, on invoices
    #[arg(long, env = "INVOICE_SELLER_NAME", default_value = "SaaSOdoo")]
    pub invoice_seller_name: String,
    /// Its address, lines separated by semicolons
    #[arg(long, env = "INVOICE_SELLER_ADDRESS", default_value = "")]
    pub invoice_seller_address: String,
    /// Its tax id
    #[arg(long, env = "INVOICE_SELLER_TAX_ID", default_value = "")]
    pub invoice_seller_tax_id: String,
    /// Where questions about invoices go
    #[arg(long, env = "INVOICE_SELLER_EMAIL", default_value = "")]
    pub invoice_seller_email: String,
    /// Foot of invoices (bank, register, how to pay), lines separated by semicolons
    #[arg(long, env = "INVOICE_FOOTER", default_value = "")]
    pub invoice_footer: String,
    /// TrueType or OpenType file with characters that the built-in fonts lack, or draw in another style
    #[arg(long, env = "INVOICE_FONT_FILE")]
    pub invoice_font_file: Option<std::path::PathBuf>,
}

/// Longest line of the seller's details, and most lines of each, so that a page always has room for an
/// invoice.
const SELLER_LINE: usize = 120;
const SELLER_LINES: usize = 8;

impl Invoicing {
    /// What documents are printed with; a font that cannot be read stops the start, not the first invoice.
    pub fn documents(&self) -> anyhow::Result<DocumentSettings> {
        let more = match &self.invoice_font_file {
            None => None,
            Some(path) => {
                let bytes = std::fs::read(path)
                    .with_context(|| format!("INVOICE_FONT_FILE: cannot read {}", path.display()))?;
                Some(("INVOICE_FONT_FILE", bytes))
            }
        };
        let seller = Seller {
            name: seller_line("INVOICE_SELLER_NAME", &self.invoice_seller_name)?,
            address: seller_lines("INVOICE_SELLER_ADDRESS", &self.invoice_seller_address)?,
            tax_id: seller_line("INVOICE_SELLER_TAX_ID", &self.invoice_seller_tax_id)?,
            email: seller_line("INVOICE_SELLER_EMAIL", &self.invoice_seller_email)?,
            footer: seller_lines("INVOICE_FOOTER", &self.invoice_footer)?,
        };
        if seller.name.is_empty() {
            bail!("INVOICE_SELLER_NAME is empty");
        }
        Ok(DocumentSettings::new(seller, Fonts::try_new(more)?))
    }
}

fn seller_line(name: &str, text: &str) -> anyhow::Result<String> {
    let text = text.trim();
    if text.chars().count() > SELLER_LINE {
        bail!("{name} has a line of more than {SELLER_LINE} characters");
    }
    Ok(text.to_owned())
}

fn seller_lines(name: &str, text: &str) -> anyhow::Result<Vec<String>> {
    let lines: Vec<&str> = text.split(';').map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.len() > SELLER_LINES {
        bail!("{name} has more than {SELLER_LINES} lines");
    }
    lines.into_iter().map(|line| seller_line(name, line)).collect()
}

/// Kill Bill; used when it is the provider.
#[derive(Debug, Clone, Args)]
pub struct KillBill {
    /// Address of Kill Bill, without a path
    #[arg(long, env = "KILLBILL_URL", default_value = "http://killbill:8080")]
    pub killbill_url: String,
    /// Its user
    #[arg(long, env = "KILLBILL_USERNAME", default_value = "")]
    pub killbill_username: String,
    /// Password of its user
    #[arg(
        long,
        env = "KILLBILL_PASSWORD",
        default_value = "",
        hide_env_values = true,
        hide_default_value = true
    )]
    pub killbill_password: SecretString,
    /// Key of our tenant, which is made when it is not there
    #[arg(
        long,
        env = "KILLBILL_API_KEY",
        default_value = "",
        hide_env_values = true,
        hide_default_value = true
    )]
    pub killbill_api_key: SecretString,
    /// Secret of our tenant
    #[arg(
        long,
        env = "KILLBILL_API_SECRET",
        default_value = "",
        hide_env_values = true,
        hide_default_value = true
    )]
    pub killbill_api_secret: SecretString,
    /// Where Kill Bill reaches the gateway's route of its hooks, without the token; none: no callback is
    /// registered
    #[arg(long, env = "KILLBILL_NOTIFICATION_URL")]
    pub killbill_notification_url: Option<String>,
    /// Secret last part of that address: letters, digits, `-` and `_`
    #[arg(
        long,
        env = "KILLBILL_HOOK_TOKEN",
        default_value = "",
        hide_env_values = true,
        hide_default_value = true
    )]
    pub killbill_hook_token: SecretString,
    /// The token before a rotation, valid too until it is taken away
    #[arg(long, env = "KILLBILL_HOOK_TOKEN_PREVIOUS", hide_env_values = true)]
    pub killbill_hook_token_previous: Option<SecretString>,
}

/// What is sold.
#[derive(Debug, Clone, Args)]
pub struct Selling {
    /// JSON file of plans and entitlements; default: the catalogue that comes with the program
    #[arg(long, env = "CATALOG_FILE")]
    pub catalog_file: Option<std::path::PathBuf>,
    /// Plan of an order that names none; must be for sale
    #[arg(long, env = "DEFAULT_PLAN", default_value = "basic-monthly")]
    pub default_plan: String,
    /// Length of a trial, for plans that have one
    #[arg(long, env = "DEFAULT_TRIAL_DAYS", default_value_t = 14, value_parser = clap::value_parser!(u16).range(1..=365))]
    pub default_trial_days: u16,
}

/// Times of orders.
#[derive(Debug, Clone, Copy, Args)]
pub struct Orders {
    /// Minutes until an order whose instance was not announced is looked into
    #[arg(long, env = "ORDER_CONFIRM_MINUTES", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pub order_confirm_minutes: u32,
    /// Days that an unpaid order waits for its payment (policy on_payment)
    #[arg(long, env = "ORDER_PAYMENT_DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub order_payment_days: u32,
    /// Hours that a create may fail before its order is taken back; until then it can be repeated
    #[arg(long, env = "GIVE_UP_AFTER_HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    pub give_up_after_hours: u32,
    /// Hours after an order in which its instance may be terminated without owing the unpaid first invoice;
    /// 0: none
    #[arg(long, env = "COOLING_OFF_HOURS", default_value_t = 24)]
    pub cooling_off_hours: u32,
    /// Seconds between two looks for unfinished orders
    #[arg(long, env = "ORDER_SWEEP_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pub order_sweep_seconds: u32,
}

/// There is one value, so that nobody opens the door by a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailBehavior {
    /// No trial.
    Closed,
}

impl Selling {
    /// Reads the catalogue and checks it whole, also that the default plan is in it.
    pub fn catalogue(&self) -> anyhow::Result<Catalogue> {
        let catalogue = match &self.catalog_file {
            None => Catalogue::shipped(self.default_trial_days)?,
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("CATALOG_FILE: cannot read {}", path.display()))?;
                Catalogue::parse(&text, self.default_trial_days)
                    .with_context(|| format!("CATALOG_FILE {}", path.display()))?
            }
        };
        if !catalogue.plans.iter().any(|plan| plan.name == self.default_plan) {
            bail!("DEFAULT_PLAN {:?} is not in the catalogue", self.default_plan);
        }
        Ok(catalogue)
    }
}

impl KillBill {
    fn check(&self, environment: Environment) -> anyhow::Result<()> {
        let url =
            self.killbill_url.strip_prefix("http://").or_else(|| self.killbill_url.strip_prefix("https://"));
        if url.is_none_or(|rest| rest.is_empty() || rest.contains(['@', '?', '#'])) {
            bail!("KILLBILL_URL must be an http or https address without user and query");
        }
        if self.killbill_username.is_empty() {
            bail!("KILLBILL_USERNAME is empty");
        }
        require_strong(environment, "KILLBILL_PASSWORD", &self.killbill_password)?;
        require_strong(environment, "KILLBILL_API_KEY", &self.killbill_api_key)?;
        require_strong(environment, "KILLBILL_API_SECRET", &self.killbill_api_secret)?;
        for (name, token) in [("KILLBILL_HOOK_TOKEN", Some(&self.killbill_hook_token))]
            .into_iter()
            .chain([("KILLBILL_HOOK_TOKEN_PREVIOUS", self.killbill_hook_token_previous.as_ref())])
        {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            // Without hooks there is no token; one that is set is a good one.
            if let Some(token) = token.map(secrecy::ExposeSecret::expose_secret)
                && (!token.is_empty() || self.killbill_notification_url.is_some())
                && (token.len() < 16 || !token.bytes().all(plain))
            {
                bail!("{name} must be 16 or more letters, digits, - and _");
            }
        }
        Ok(())
    }

    /// The address that Kill Bill is told, with the token.
    pub fn callback(&self) -> Option<SecretString> {
        let base = self.killbill_notification_url.as_deref()?.trim_end_matches('/');
        Some(format!("{base}/{}", self.killbill_hook_token.expose_secret()).into())
    }

    /// How it is reached.
    pub fn access(&self) -> provider::killbill::Access {
        provider::killbill::Access {
            url: self.killbill_url.clone(),
            username: self.killbill_username.clone(),
            password: self.killbill_password.clone(),
            api_key: self.killbill_api_key.expose_secret().to_owned(),
            api_secret: self.killbill_api_secret.clone(),
        }
    }

    /// Secrets that its hooks come with: the present one and the one before it.
    pub fn hook_tokens(&self) -> Vec<SecretString> {
        [Some(&self.killbill_hook_token), self.killbill_hook_token_previous.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }
}

impl Config {
    /// What clap cannot check: fails with the name of the setting.
    pub fn check(&self) -> anyhow::Result<()> {
        let environment = self.common.environment;
        require_strong(environment, "DB_SERVICE_PASSWORD", &self.postgres.db_service_password)?;
        require_strong(environment, "RABBITMQ_PASSWORD", &self.rabbit.rabbitmq_password)?;
        let dunning = self.billing_settings().dunning;
        if !(dunning.warning_days <= dunning.suspend_days && dunning.suspend_days < dunning.terminate_days) {
            bail!("OVERDUE_WARNING_DAYS, OVERDUE_SUSPEND_DAYS and OVERDUE_TERMINATE_DAYS must rise");
        }
        if self.billing_provider == provider::Name::Killbill {
            self.killbill.check(environment)?;
        }
        self.paying.check(environment)
    }

    /// What invoices and the ladder go by.
    pub fn billing_settings(&self) -> BillingSettings {
        let set = &self.invoicing;
        BillingSettings {
            issuer: set.invoice_issuer.clone(),
            due_days: set.invoice_due_days,
            dunning: DunningRules {
                warning_days: set.overdue_warning_days,
                suspend_days: set.overdue_suspend_days,
                terminate_days: set.overdue_terminate_days,
            },
            reminder_days: set.trial_warning_days.clone(),
            test_clock: !self.common.is_production(),
            retention_days: set.retention_days,
        }
    }

    /// The policy in force (BIL-13).
    pub fn provision_policy(&self) -> ProvisionPolicy {
        self.billing_provision_policy.unwrap_or(if self.common.is_production() {
            ProvisionPolicy::OnPayment
        } else {
            ProvisionPolicy::OnInvoice
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    fn parse(more: &[&str]) -> Config {
        let least = [
            "billing-service",
            "serve",
            "--db-service-password",
            "0123456789abcdef",
            "--rabbitmq-password",
            "0123456789abcdef",
            "--service-token-private-key",
            "x",
            "--service-token-public-keys",
            "x",
        ];
        match Cli::try_parse_from(least.iter().chain(more)).unwrap().command {
            Command::Serve(config) => *config,
            Command::Migrate(_) | Command::Redrive(_) => panic!("serve was asked for"),
        }
    }

    /// BIL-13
    #[test]
    fn production_waits_for_payment_unless_told_otherwise() {
        assert_eq!(parse(&[]).provision_policy(), ProvisionPolicy::OnInvoice);
        assert_eq!(parse(&["--environment", "production"]).provision_policy(), ProvisionPolicy::OnPayment);
        let told = parse(&["--environment", "production", "--billing-provision-policy", "on_invoice"]);
        assert_eq!(told.provision_policy(), ProvisionPolicy::OnInvoice);
    }

    const KILL_BILL: [&str; 10] = [
        "--billing-provider",
        "killbill",
        "--killbill-username",
        "u",
        "--killbill-password",
        "p0123456789abcdef",
        "--killbill-api-key",
        "k0123456789abcdef",
        "--killbill-api-secret",
        "s0123456789abcdef",
    ];

    /// BIL-05: the second provider starts with all its secrets and with none missing.
    #[test]
    fn kill_bill_has_no_secret_by_default() {
        let error = parse(&["--billing-provider", "killbill"]).check().unwrap_err().to_string();
        assert!(error.contains("KILLBILL_USERNAME"), "{error}");
        assert!(parse(&KILL_BILL).check().is_ok() && parse(&[]).check().is_ok());
        let hooks = ["--killbill-notification-url", "http://gateway:8080/hooks/"];
        let error = parse(&[&KILL_BILL[..], &hooks].concat()).check().unwrap_err().to_string();
        assert!(error.contains("KILLBILL_HOOK_TOKEN"), "{error}");
        let token = ["--killbill-hook-token", "t0123456789abcdef"];
        let whole = parse(&[&KILL_BILL[..], &hooks, &token].concat());
        whole.check().unwrap();
        assert_eq!(
            whole.killbill.callback().unwrap().expose_secret(),
            "http://gateway:8080/hooks/t0123456789abcdef"
        );
        assert!(!format!("{whole:?}").contains("0123456789abcdef"));
    }

    /// BIL-10: the door cannot be opened by a setting.
    #[test]
    fn the_trial_check_fails_closed_only() {
        let open = ["billing-service", "serve", "--trial-eligibility-fail-behavior", "open"];
        assert!(Cli::try_parse_from(open).is_err());
    }
}
