//! Configuration of a pool's PostgreSQL (DBS-29), computed from its slots and its memory.
//!
//! A role may open 20 connections, but 50 tenants never do so at once: the server has room for `slots ×
//! connections per tenant` plus a reserve. With 50 slots, 8 connections and 4 GiB: 420 connections for work,
//! 1 GiB shared buffers, 2 MiB for each sort; 420 idle backends take about 1 GiB, and the page cache keeps
//! the rest.
//!
//! PostgreSQL gives a connection its slot before it knows who it is from. Whoever opens one and says nothing
//! more keeps the slot until the time for
//! the log-in is over, so that time is short and there are as many slots again for such connections.

use super::pool::ServerType;

/// Connections kept for the platform: probes, administration, backups.
pub const RESERVED_CONNECTIONS: i64 = 20;
/// Connections of a dedicated server's one tenant.
const DEDICATED_CONNECTIONS: i64 = 60;

/// Slots for log-ins that are not through, at least.
const LEAST_LOG_INS: i64 = 100;

const MIB: i64 = 1024 * 1024;

/// A Kubernetes quantity of memory (`512Mi`, `4Gi`, `1000000`) in bytes.
pub fn memory_bytes(quantity: &str) -> Option<i64> {
    let digits = quantity.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match quantity.get(digits.len()..)? {
        "" => 1,
        "Ki" => 1024,
        "Mi" => MIB,
        "Gi" => 1024 * MIB,
        "Ti" => 1024 * 1024 * MIB,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => return None,
    };
    let value: i64 = digits.parse().ok()?;
    (value > 0).then_some(value)?.checked_mul(factor)
}

/// A Kubernetes quantity of processor time (`2`, `500m`, `1.5`) in thousandths.
pub fn cpu_millis(quantity: &str) -> Option<i64> {
    let value = if let Some(millis) = quantity.strip_suffix('m') {
        millis.parse().ok()?
    } else {
        let (whole, part) = quantity.split_once('.').unwrap_or((quantity, "0"));
        let padded: String = part.chars().chain("000".chars()).take(3).collect();
        whole.parse::<i64>().ok()?.checked_mul(1000)? + padded.parse::<i64>().ok()?
    };
    (value > 0).then_some(value)
}

/// Connections that the server accepts: those for work, and room for log-ins that come to nothing.
pub fn max_connections(server_type: ServerType, slots: i32, per_tenant: i64) -> i64 {
    let working = working_connections(server_type, slots, per_tenant);
    working + working.max(LEAST_LOG_INS)
}

/// Connections that memory is divided for.
fn working_connections(server_type: ServerType, slots: i32, per_tenant: i64) -> i64 {
    let tenants = match server_type {
        ServerType::Dedicated => DEDICATED_CONNECTIONS,
        ServerType::Shared | ServerType::Platform => i64::from(slots) * per_tenant,
    };
    tenants + RESERVED_CONNECTIONS
}

/// Bytes that sessions may hold for themselves before a server's memory is nearly gone, and how much of it one
/// tenant may have then. A quarter is shared buffers; a server of its own is its tenant's.
pub fn session_memory(server_type: ServerType, memory: i64) -> (i64, i64) {
    let each = match server_type {
        ServerType::Dedicated => memory / 2,
        ServerType::Shared | ServerType::Platform => memory / 4,
    };
    (memory / 10 * 6, each)
}

/// Lines of `postgresql.conf`.
pub fn postgresql_conf(server_type: ServerType, slots: i32, per_tenant: i64, memory: i64) -> String {
    let working = working_connections(server_type, slots, per_tenant);
    let connections = max_connections(server_type, slots, per_tenant);
    let mib = |bytes: i64, least: i64, most: i64| {
        [(bytes / MIB).clamp(least, most).to_string().as_str(), "MB"].concat()
    };
    let shared_buffers = memory / 4;
    let lines: [(&str, String); 19] = [
        ("listen_addresses", "'*'".into()),
        ("max_connections", connections.to_string()),
        ("superuser_reserved_connections", (RESERVED_CONNECTIONS / 2).to_string()),
        ("authentication_timeout", "'10s'".into()),
        ("password_encryption", "'scram-sha-256'".into()),
        ("shared_buffers", mib(shared_buffers, 32, 16 * 1024)),
        ("effective_cache_size", mib(memory / 2, 64, 64 * 1024)),
        ("work_mem", mib((memory - shared_buffers) * 3 / 10 / working, 1, 32)),
        ("maintenance_work_mem", mib(memory / 32, 32, 512)),
        // A session keeps its temporary tables within this.
        ("temp_buffers", "4MB".into()),
        // Tenants share the processors, and a pod has little /dev/shm: no parallel workers.
        ("max_parallel_workers_per_gather", "0".into()),
        ("max_parallel_maintenance_workers", "0".into()),
        // A dump locks each table of a tenant, and Odoo has many. For each connection, half of which do no
        // work.
        ("max_locks_per_transaction", "128".into()),
        ("max_wal_size", "'2GB'".into()),
        ("wal_compression", "on".into()),
        ("random_page_cost", "1.1".into()),
        ("track_io_timing", "on".into()),
        // Statements hold customers' data; only slow ones are logged, without parameters.
        ("log_min_duration_statement", "'10s'".into()),
        ("log_parameter_max_length", "0".into()),
    ];
    lines.iter().flat_map(|(name, value)| [*name, " = ", value.as_str(), "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(conf: &'a str, name: &str) -> &'a str {
        conf.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = ")).unwrap()
    }

    /// DBS-29
    #[test]
    fn a_pool_of_fifty_fits_into_four_gibibytes() {
        let memory = memory_bytes("4Gi").unwrap();
        let conf = postgresql_conf(ServerType::Shared, 50, 8, memory);
        assert_eq!(value(&conf, "max_connections"), "840");
        assert_eq!(value(&conf, "authentication_timeout"), "'10s'");
        assert_eq!(value(&conf, "shared_buffers"), "1024MB");
        assert_eq!(value(&conf, "work_mem"), "2MB");
        // Backends at about 3 MiB each, all sorting at once, still leave room.
        assert!(memory / 4 + working_connections(ServerType::Shared, 50, 8) * (2 + 3) * MIB < memory);
    }

    /// DBS-29: what a full server of tenants holds by the plan of its memory is no emergency.
    #[test]
    fn sessions_that_keep_to_the_plan_are_left_alone() {
        let memory = memory_bytes("4Gi").unwrap();
        let (all, each) = session_memory(ServerType::Shared, memory);
        assert!(working_connections(ServerType::Shared, 50, 8) * (2 + 3) * MIB < all);
        assert!(each < all && memory / 4 + all < memory);
        assert!(session_memory(ServerType::Dedicated, memory).1 > each);
    }

    /// DBS-29
    #[test]
    fn small_servers_get_values_that_postgresql_accepts() {
        let conf = postgresql_conf(ServerType::Shared, 500, 8, memory_bytes("256Mi").unwrap());
        assert_eq!(value(&conf, "work_mem"), "1MB");
        assert_eq!(value(&conf, "shared_buffers"), "64MB");
        let dedicated = postgresql_conf(ServerType::Dedicated, 1, 8, memory_bytes("4Gi").unwrap());
        assert_eq!(value(&dedicated, "max_connections"), "180");
    }

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        assert_eq!(memory_bytes("512Mi"), Some(512 * MIB));
        assert_eq!(memory_bytes("4Gi"), Some(4096 * MIB));
        for bad in ["", "Gi", "4GB", "-1Gi", "9223372036854775807Gi"] {
            assert_eq!(memory_bytes(bad), None, "{bad}");
        }
        assert_eq!(cpu_millis("2"), Some(2000));
        assert_eq!(cpu_millis("500m"), Some(500));
        assert_eq!(cpu_millis("1.5"), Some(1500));
        for bad in ["", "m", "two", "0"] {
            assert_eq!(cpu_millis(bad), None, "{bad}");
        }
    }
}
