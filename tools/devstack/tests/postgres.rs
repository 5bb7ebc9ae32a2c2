//! The real PostgreSQL server as tests have it.

use std::time::Duration;

use devstack::ports::Ports;
use devstack::postgres::{Server, outside};
use devstack::process::Process;

/// Segments in `/dev/shm` outlive a server that is killed, and tests kill many.
#[test]
fn a_server_of_tests_keeps_no_segments_of_shared_memory_that_outlive_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let port = Ports::load(&dir.path().join("ports.json")).choose("postgres").expect("a port");
    let server = Server::new(dir.path(), port, false).expect("PostgreSQL");
    server.initialise("secret").expect("a data folder");
    let mut process = Process::start(server.spec(dir.path())).expect("it starts");
    process.wait_ready(Duration::from_secs(30), || server.answers()).expect("it answers");

    let maps = std::fs::read_to_string(format!("/proc/{}/maps", process.pid())).expect("its memory");
    process.kill().expect("it dies");
    drop(std::fs::remove_dir_all(outside(dir.path())));

    assert!(maps.contains("/pg_dynshmem/"), "{maps}");
    assert!(!maps.contains("/dev/shm/"), "{maps}");
}
