//! Connections to RabbitMQ. A lost connection is made anew by whoever uses it; there is no hidden recovery,
//! so the state is always known.

use std::time::Duration;

use anyhow::Context as _;
use lapin::{Connection, ConnectionProperties};
use runtime::config::Rabbit;
use secrecy::{ExposeSecret as _, SecretString};

/// Where the broker is. The password is part of the address and never printed.
#[derive(Clone)]
pub struct Broker {
    url: SecretString,
    name: String,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Broker(for {})", self.name)
    }
}

impl Broker {
    /// From the settings; `service` names the connection in the broker's lists.
    pub fn new(settings: &Rabbit, service: &str) -> Self {
        let url = format!(
            "amqp://{}:{}@{}:{}/{}",
            escape(&settings.rabbitmq_user),
            escape(settings.rabbitmq_password.expose_secret()),
            settings.rabbitmq_host,
            settings.rabbitmq_port,
            escape(&settings.rabbitmq_vhost),
        );
        Self::from_url(&url, service)
    }

    /// From an AMQP URL (tests).
    pub fn from_url(url: &str, service: &str) -> Self {
        Self { url: SecretString::from(url), name: service.to_owned() }
    }

    /// A new connection, within 10 s.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let properties = ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        tokio::time::timeout(
            Duration::from_secs(10),
            Connection::connect(self.url.expose_secret(), properties),
        )
        .await
        .context("the broker did not answer within 10 s")?
        .context("cannot connect to the broker")
    }
}

/// Percent-encodes what is not unreserved in a URL.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            escaped.push(char::from(b"0123456789ABCDEF"[usize::from(byte >> 4)]));
            escaped.push(char::from(b"0123456789ABCDEF"[usize::from(byte & 15)]));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-04
    #[test]
    fn the_password_is_escaped_and_never_printed() {
        let broker = Broker::new(
            &Rabbit {
                rabbitmq_host: "h".into(),
                rabbitmq_port: 1,
                rabbitmq_vhost: "saasodoo".into(),
                rabbitmq_user: "u".into(),
                rabbitmq_password: SecretString::from("p@ss/word"),
            },
            "test",
        );
        assert!(broker.url.expose_secret().contains("p%40ss%2Fword"));
        assert!(!format!("{broker:?}").contains("p%40ss"));
    }
}
