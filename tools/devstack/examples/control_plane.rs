//! Runs a control plane until it is asked to end: `cargo run -p devstack --example control_plane -- <folder> <devcluster>`.

use std::io::{self, Write as _};

use devstack::cluster::{ControlPlane, Options};
use nix::sys::signal::{SigSet, Signal};

fn main() -> anyhow::Result<()> {
    // Blocked before any thread starts, so that only the wait below sees them.
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGINT);
    stop.add(Signal::SIGTERM);
    stop.thread_block()?;
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(binary)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: control_plane <folder> <devcluster>");
    };

    let control_plane = ControlPlane::start(Options::new(dir, binary))?;
    let mut out = io::stdout();
    writeln!(out, "export KUBECONFIG={}", control_plane.kubeconfig().display())?;
    writeln!(out, "export TEST_KUBECTL={}", control_plane.kubectl().display())?;
    out.flush()?;

    stop.wait()?;
    control_plane.stop()
}
