//! Addresses of the real servers, as `cargo xtask test` exports them.

/// Reads one variable; the message says how to get it.
///
/// # Panics
/// When it is absent: a test without its server fails, it is never skipped.
#[expect(clippy::disallowed_methods, reason = "tests have no configuration struct")]
fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests by `cargo xtask test`"))
}

/// AMQP URL of the broker.
pub fn amqp_url() -> String {
    required("TEST_AMQP_URL")
}

/// URL of Redis.
pub fn redis_url() -> String {
    required("TEST_REDIS_URL")
}

/// Superuser URL of PostgreSQL.
pub fn database_url() -> String {
    required("DATABASE_URL")
}

/// Path of a kubeconfig with administrator rights.
pub fn kubeconfig() -> String {
    required("KUBECONFIG")
}

/// Path of kubectl.
pub fn kubectl() -> String {
    required("TEST_KUBECTL")
}

/// URL of the local node's fault switch.
pub fn devnode_url() -> String {
    required("TEST_DEVNODE_URL")
}

/// URL of the mail sink's HTTP API.
pub fn mail_url() -> String {
    required("TEST_MAIL_URL")
}

/// `host:port` of the mail sink's SMTP server.
pub fn smtp_address() -> String {
    required("TEST_SMTP")
}

/// Path of `stack.json` of a running stack.
pub fn stack_file() -> String {
    required("SAASODOO_STACK")
}

/// A folder for what tests make that is large or has many files: in memory where there is room.
pub fn scratch() -> String {
    required("TEST_SCRATCH")
}
