//! A Redis server of our own, with a password that stands in its file of settings alone.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process::Spec;
use crate::secrets::write_private;

/// Writes the settings into `dir` and gives what starts the server. `durable` keeps the data over restarts.
pub fn spec(dir: &Path, logs: &Path, port: u16, password: &str, durable: bool) -> Result<Spec> {
    let home = dir.join("redis");
    fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    let settings = home.join("redis.conf");
    let append = if durable { "yes" } else { "no" };
    let text = format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {}\nappendonly {append}\nsave \"\"\n\
         maxmemory-policy noeviction\ndaemonize no\nlogfile \"\"\n",
        home.display()
    );
    write_private(&settings, &text)?;
    Ok(Spec::new("redis", "redis-server", logs).arg(settings))
}

/// Whether the server answers to its password.
pub fn answers(port: u16, password: &str) -> bool {
    ask(port, password).is_ok_and(|lines| lines.iter().map(String::as_str).eq(["+OK", "+PONG"]))
}

fn ask(port: u16, password: &str) -> std::io::Result<Vec<String>> {
    let limit = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(format!("AUTH {password}\r\nPING\r\n").as_bytes())?;
    BufReader::new(stream).lines().take(2).collect()
}
