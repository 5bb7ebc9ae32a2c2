//! The seven services: their programs, their databases, and which parts of the stack each one needs
//! (requirements, part 14).

/// A database and the role that owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Database {
    /// Name of the database.
    pub name: &'static str,
    /// Role that owns it.
    pub role: &'static str,
}

/// A part of the stack, with its secret, that not every service gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Verifies or signs access tokens.
    UserTokens,
    /// Counts and locks in Redis.
    Redis,
    /// Sends or receives messages.
    RabbitMq,
    /// Encrypts or decrypts with `DATA_KEY`.
    DataKey,
    /// Talks to Kubernetes.
    Cluster,
}

/// A service of the platform.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Name of the package, of the program and of the caller in service tokens.
    pub name: &'static str,
    /// Its database.
    pub database: Option<Database>,
    /// Whether `<program> migrate` brings that database up to date; of two services that share one, one does.
    pub migrates: bool,
    /// What else it gets.
    pub needs: &'static [Need],
}

impl Service {
    /// Whether its HTTP port is public, so that readiness and metrics have a port of their own.
    pub fn is_public(&self) -> bool {
        self.name == "gateway"
    }
}

const fn service(name: &'static str, database: Database, needs: &'static [Need]) -> Service {
    Service { name, database: Some(database), migrates: true, needs }
}

const INSTANCE: Database = Database { name: "instance", role: "instance_service" };

/// All services.
pub const ALL: [Service; 7] = [
    service(
        "user-service",
        Database { name: "auth", role: "auth_service" },
        &[Need::UserTokens, Need::Redis, Need::RabbitMq],
    ),
    service(
        "billing-service",
        Database { name: "billing", role: "billing_service" },
        &[Need::UserTokens, Need::RabbitMq],
    ),
    service("instance-service", INSTANCE, &[Need::UserTokens, Need::RabbitMq]),
    Service {
        migrates: false,
        ..service("instance-worker", INSTANCE, &[Need::RabbitMq, Need::DataKey, Need::Cluster])
    },
    service(
        "database-service",
        Database { name: "database_service", role: "database_service" },
        &[Need::UserTokens, Need::RabbitMq, Need::DataKey],
    ),
    service(
        "notification-service",
        Database { name: "communication", role: "notification_service" },
        &[Need::UserTokens, Need::RabbitMq],
    ),
    Service { name: "gateway", database: None, migrates: false, needs: &[Need::UserTokens, Need::Redis] },
];

/// A service by its name.
pub fn find(name: &str) -> Option<&'static Service> {
    static SERVICES: [Service; 7] = ALL;
    SERVICES.iter().find(|service| service.name == name)
}
