//! What a check of a server looks at (DBS-18), and when each part of it is good.

/// Less free space than this share is a bad check: the server takes no new tenants while there is still room
/// for those it has.
const LEAST_FREE_SHARE: f64 = 0.05;
/// On a large volume so many bytes are enough.
const ENOUGH_FREE: i64 = 2 * 1024 * 1024 * 1024;
/// More connections in use than this share is a bad check.
const MOST_CONNECTIONS_SHARE: f64 = 0.95;

/// One part of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// connect, query, write, disk, connections.
    pub name: &'static str,
    /// Good?
    pub ok: bool,
    /// Safe to show: no address, no secret.
    pub detail: String,
}

/// Space of a server's volume in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Disk {
    /// All databases and the write-ahead log.
    pub used: i64,
    /// Left on the volume, when the server could tell.
    pub free: Option<i64>,
    /// Size of the volume, when the server could tell.
    pub total: Option<i64>,
}

/// Is there room? A server that cannot tell is believed to have some.
pub fn disk(disk: Disk) -> Check {
    let (ok, detail) = match (disk.free, disk.total) {
        (Some(free), Some(total)) if total > 0 => {
            let share = ratio(free, total);
            (
                share >= LEAST_FREE_SHARE || free >= ENOUGH_FREE,
                [percent(share).as_str(), " % of the volume is free"].concat(),
            )
        }
        _ => (true, "the server cannot tell its free space".to_owned()),
    };
    Check { name: "disk", ok, detail }
}

/// Can tenants still connect?
pub fn connections(used: i32, max: i32) -> Check {
    let ok = max <= 0 || ratio(used.into(), max.into()) <= MOST_CONNECTIONS_SHARE;
    Check {
        name: "connections",
        ok,
        detail: [&used.to_string(), " of ", &max.to_string(), " in use"].concat(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no exact bytes")]
fn ratio(part: i64, whole: i64) -> f64 {
    part as f64 / whole as f64
}

fn percent(share: f64) -> String {
    ((share * 1000.0).round() / 10.0).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DBS-18
    #[test]
    fn a_full_volume_and_used_up_connections_are_bad() {
        let of = |free, total| disk(Disk { used: 0, free: Some(free), total: Some(total) });
        assert!(of(5, 100).ok && !of(4, 100).ok);
        assert!(of(ENOUGH_FREE, 100 * ENOUGH_FREE).ok, "1 % of a large volume is still much");
        assert!(disk(Disk::default()).ok, "unknown is no failure");
        assert_eq!(of(125, 1000).detail, "12.5 % of the volume is free");
        assert!(connections(95, 100).ok && !connections(96, 100).ok);
    }
}
