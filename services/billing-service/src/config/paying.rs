//! Settings of payments through gateways. Paynow is off until it is set, and is set whole or not at all.

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use reqwest::Url;
use runtime::config::{Environment, require_strong};
use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::money::Currency;
use crate::failpoint::{self, FailPoint};
use crate::gateway::Gateways;
use crate::gateway::paynow::{Access, Paynow, RESULT_PATH};
use crate::gateway::test_gateway::TestGateway;

/// Payments through gateways.
#[derive(Debug, Clone, Args)]
pub struct Paying {
    /// Id of the Paynow integration; Paynow is off without it
    #[arg(long, env = "PAYNOW_INTEGRATION_ID")]
    pub paynow_integration_id: Option<String>,
    /// Key of the Paynow integration
    #[arg(long, env = "PAYNOW_INTEGRATION_KEY", hide_env_values = true)]
    pub paynow_integration_key: Option<SecretString>,
    /// Mail address of the merchant's account at Paynow
    #[arg(long, env = "PAYNOW_MERCHANT_EMAIL")]
    pub paynow_merchant_email: Option<String>,
    /// Where Paynow reaches the gateway's route of its results
    #[arg(long, env = "PAYNOW_RESULT_URL")]
    pub paynow_result_url: Option<String>,
    /// Address of Paynow without a path, such as https://www.paynow.co.zw; no other host is ever asked
    #[arg(long, env = "PAYNOW_BASE_URL")]
    pub paynow_base_url: Option<String>,
    /// Currency of the Paynow integration: its messages name none
    #[arg(long, env = "PAYNOW_CURRENCY", default_value = "USD")]
    pub paynow_currency: String,
    /// Minutes that a customer may take to pay at Paynow
    #[arg(long, env = "PAYNOW_PENDING_MINUTES", default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..=1440))]
    pub paynow_pending_minutes: u32,
    /// Seconds between two looks for payments whose result did not come
    #[arg(long, env = "PAYNOW_POLL_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=300))]
    pub paynow_poll_seconds: u32,
    /// Address of the portal, where customers come back to
    #[arg(long, env = "FRONTEND_URL", default_value = "http://app.saasodoo.local")]
    pub frontend_url: String,
    /// Pay or decline by amount, for development and tests (method test); refused in production
    #[arg(long, env = "TEST_GATEWAY", action = clap::ArgAction::Set)]
    pub test_gateway: Option<bool>,
    /// Where the process dies, for tests
    #[arg(long, env = "BILLING_FAIL_POINT", hide = true)]
    pub billing_fail_point: Option<String>,
}

/// An address without user, query and fragment; in production over TLS.
fn address(name: &str, text: &str, environment: Environment) -> anyhow::Result<Url> {
    let url = Url::parse(text).with_context(|| format!("{name} is no address"))?;
    ensure!(
        matches!(url.scheme(), "http" | "https") && url.has_host(),
        "{name} must be an http or https address"
    );
    let plain = url.username().is_empty() && url.password().is_none();
    ensure!(
        plain && url.query().is_none() && url.fragment().is_none(),
        "{name} must have no user and no query"
    );
    ensure!(
        environment != Environment::Production || url.scheme() == "https",
        "{name} must be https in production"
    );
    Ok(url)
}

impl Paying {
    /// What clap cannot check: fails with the name of the setting.
    pub(super) fn check(&self, environment: Environment) -> anyhow::Result<()> {
        self.paynow(environment)?;
        self.fail_point(environment)?;
        ensure!(
            environment != Environment::Production || self.test_gateway != Some(true),
            "TEST_GATEWAY pays without money and is refused in production"
        );
        Ok(())
    }

    /// How Paynow is reached, when it is on.
    fn paynow(&self, environment: Environment) -> anyhow::Result<Option<Access>> {
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let key = self.paynow_integration_key.clone().filter(|key| !key.expose_secret().is_empty());
        let set = [
            ("PAYNOW_INTEGRATION_ID", text(&self.paynow_integration_id)),
            ("PAYNOW_MERCHANT_EMAIL", text(&self.paynow_merchant_email)),
            ("PAYNOW_RESULT_URL", text(&self.paynow_result_url)),
            ("PAYNOW_BASE_URL", text(&self.paynow_base_url)),
        ];
        if key.is_none() && set.iter().all(|(_, value)| value.is_none()) {
            return Ok(None);
        }
        let key =
            key.context("PAYNOW_INTEGRATION_KEY is missing, and the other settings of Paynow are there")?;
        for (name, value) in &set {
            ensure!(value.is_some(), "{name} is missing, and other settings of Paynow are there");
        }
        let [id, email, result, base] = set.map(|(_, value)| value.unwrap_or_default());
        require_strong(environment, "PAYNOW_INTEGRATION_KEY", &key)?;
        ensure!(id.bytes().all(|byte| byte.is_ascii_digit()), "PAYNOW_INTEGRATION_ID must be a number");
        ensure!(email.contains('@'), "PAYNOW_MERCHANT_EMAIL must be a mail address");
        let result = address("PAYNOW_RESULT_URL", &result, environment)?;
        // A path that is not the route would lose every result.
        ensure!(result.path() == RESULT_PATH, "PAYNOW_RESULT_URL must have the path {RESULT_PATH}");
        let base = address("PAYNOW_BASE_URL", &base, environment)?;
        ensure!(base.path() == "/", "PAYNOW_BASE_URL must have no path");
        let Ok(currency) = self.paynow_currency.parse::<Currency>() else {
            bail!("PAYNOW_CURRENCY must be a code of three capital letters");
        };
        Ok(Some(Access {
            base,
            integration_id: id,
            integration_key: key,
            merchant_email: email,
            result_url: result.to_string(),
            return_url: format!("{}/billing/payment-status", self.frontend_url.trim_end_matches('/')),
            currency,
            patience: time::Duration::minutes(self.paynow_pending_minutes.into()),
        }))
    }

    /// The gateways that are on.
    pub fn gateways(&self, environment: Environment) -> anyhow::Result<Gateways> {
        let mut gateways = Gateways::default();
        if let Some(access) = self.paynow(environment)? {
            gateways = gateways.with(Paynow::try_new(access)?);
        }
        if environment != Environment::Production && self.test_gateway != Some(false) {
            gateways = gateways.with(TestGateway);
        }
        Ok(gateways)
    }

    /// Where the process dies.
    pub fn fail_point(&self, environment: Environment) -> anyhow::Result<FailPoint> {
        let Some(place) = self.billing_fail_point.as_deref() else { return Ok(FailPoint::default()) };
        ensure!(
            environment != Environment::Production,
            "BILLING_FAIL_POINT is for tests and refused in production"
        );
        ensure!(failpoint::is_known(place), "BILLING_FAIL_POINT {place:?} is no place");
        Ok(FailPoint::abort_at(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        paying: Paying,
    }

    const PAYNOW: [&str; 10] = [
        "--paynow-integration-id",
        "1201",
        "--paynow-integration-key",
        "3e9fed89-60e1-4ce5-ab6e-6b1eb2d4f977",
        "--paynow-merchant-email",
        "m@example.com",
        "--paynow-result-url",
        "https://api.example.com/billing/api/billing/webhooks/paynow",
        "--paynow-base-url",
        "https://www.paynow.co.zw",
    ];

    fn paying(args: &[&str]) -> Paying {
        Line::parse_from([&["x"], args].concat()).paying
    }

    fn changed(at: usize, value: &'static str) -> Paying {
        let mut args = PAYNOW;
        args[at] = value;
        paying(&args)
    }

    fn refused(paying: &Paying, environment: Environment) -> String {
        paying.check(environment).unwrap_err().to_string()
    }

    /// BIL-27: off when unset; whole or not at all; no secret by default.
    #[test]
    fn paynow_is_set_whole_or_off() {
        let production = Environment::Production;
        assert_eq!(paying(&[]).gateways(Environment::Development).unwrap().names(), ["test"]);
        assert!(paying(&[]).gateways(production).unwrap().names().is_empty());
        assert_eq!(paying(&PAYNOW).gateways(production).unwrap().names(), ["paynow"]);
        for missing in (0..PAYNOW.len()).step_by(2) {
            let mut args = PAYNOW.to_vec();
            args.drain(missing..missing + 2);
            let name = PAYNOW[missing].trim_start_matches("--").replace('-', "_").to_uppercase();
            assert!(refused(&paying(&args), production).contains(&name), "{name}");
        }
        assert!(!format!("{:?}", paying(&PAYNOW)).contains("3e9fed89"));
    }

    /// BIL-27: the path of results is the gateway's route; production speaks TLS.
    #[test]
    fn a_wrong_address_stops_the_start() {
        let production = Environment::Production;
        for (at, value, word) in [
            (7, "https://api.example.com/webhooks/paynow", "PAYNOW_RESULT_URL"),
            (7, "http://api.example.com/billing/api/billing/webhooks/paynow", "https"),
            (7, "https://api.example.com/billing/api/billing/webhooks/paynow?x=1", "query"),
            (9, "http://www.paynow.co.zw", "https"),
            (9, "https://user@www.paynow.co.zw", "user"),
            (9, "https://www.paynow.co.zw/interface", "path"),
            (1, "12a", "number"),
            (3, "changeme", "PAYNOW_INTEGRATION_KEY"),
        ] {
            assert!(refused(&changed(at, value), production).contains(word), "{value}");
        }
        assert!(changed(9, "http://127.0.0.1:7106").check(Environment::Development).is_ok());
    }

    /// A gateway that moves no money is refused where money is real.
    #[test]
    fn production_has_no_test_gateway_and_no_fail_point() {
        let production = Environment::Production;
        assert!(refused(&paying(&["--test-gateway", "true"]), production).contains("TEST_GATEWAY"));
        let dying = paying(&["--billing-fail-point", "pay.row_written"]);
        assert!(refused(&dying, production).contains("BILLING_FAIL_POINT"));
        assert!(dying.check(Environment::Development).is_ok());
        let nowhere = paying(&["--billing-fail-point", "nowhere"]);
        assert!(refused(&nowhere, Environment::Development).contains("no place"));
    }
}
