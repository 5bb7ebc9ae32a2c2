//! A small HTTP/1.1 client for plain addresses on loopback: enough to probe servers and to run the main job
//! without an HTTP stack in the build of `cargo xtask`. It must not be used for anything that leaves the
//! machine.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header fields; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body as text.
    pub body: String,
}

impl Response {
    /// First value of a header field, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON in the answer: {}", self.body))
    }
}

/// A request under way.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    method: &'a str,
    url: &'a str,
    headers: Vec<(&'a str, String)>,
    body: Option<String>,
    timeout: Duration,
}

/// A GET request.
pub fn get(url: &str) -> Request<'_> {
    request("GET", url)
}

/// A POST request.
pub fn post(url: &str) -> Request<'_> {
    request("POST", url)
}

/// A request with any method.
pub fn request<'a>(method: &'a str, url: &'a str) -> Request<'a> {
    Request { method, url, headers: Vec::new(), body: None, timeout: Duration::from_secs(35) }
}

impl<'a> Request<'a> {
    /// Adds a header field. `Host` replaces the one of the address.
    pub fn header(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds a bearer token.
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// Sends a JSON body.
    pub fn json(mut self, body: &serde_json::Value) -> Self {
        self.body = Some(body.to_string());
        self.header("Content-Type", "application/json")
    }

    /// Longest time for connecting, and for each read and write.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends it and reads the whole answer.
    pub fn send(self) -> Result<Response> {
        self.exchange().with_context(|| format!("{} {}", self.method, self.url))
    }

    fn exchange(&self) -> Result<Response> {
        let rest = self.url.strip_prefix("http://").context("only http:// is spoken here")?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let address = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        let address = address.to_socket_addrs()?.next().context("no address")?;
        let mut stream = TcpStream::connect_timeout(&address, self.timeout)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;

        let body = self.body.as_deref().unwrap_or_default();
        let mut head = format!("{} {path} HTTP/1.1\r\nConnection: close\r\n", self.method).into_bytes();
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            write!(head, "Host: {authority}\r\n")?;
        }
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n")?;
        }
        write!(head, "Content-Length: {}\r\n\r\n{body}", body.len())?;
        stream.write_all(&head)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&answer)
    }
}

/// Status of a GET, if there is an answer within two seconds.
pub fn status(url: &str) -> Option<u16> {
    get(url).timeout(Duration::from_secs(2)).send().ok().map(|answer| answer.status)
}

fn parse(answer: &[u8]) -> Result<Response> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").context("the answer is cut off")?;
    let (head, body) = answer.split_at(end);
    let body = body.get(4..).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let status = status.context("the answer has no status")?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked =
        headers.iter().any(|(name, value)| name == "transfer-encoding" && value.contains("chunked"));
    let body = if chunked { unchunk(body)? } else { body.to_vec() };
    Ok(Response { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").context("the body is cut off")?;
        let (line, tail) = rest.split_at(end);
        let line = String::from_utf8_lossy(line);
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
        let tail = tail.get(2..).unwrap_or_default();
        if size == 0 {
            return Ok(body);
        }
        if tail.len() < size + 2 {
            bail!("the body is cut off");
        }
        let (chunk, after) = tail.split_at(size);
        body.extend_from_slice(chunk);
        rest = after.get(2..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_chunked_body_is_joined() {
        let answer =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n6;x=y\r\npedia.\r\n0\r\n\r\n";
        let response = parse(answer).unwrap();
        assert_eq!((response.status, response.body.as_str()), (200, "Wikipedia."));
        assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWi").is_err());
    }

    #[test]
    fn a_request_is_sent_and_its_answer_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/a?b=c", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 201 Created\r\nLocation: /x\r\n\r\n{\"id\":1}").unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let answer = post(&url).bearer("t").json(&serde_json::json!({"n": 1})).send().unwrap();
        let request = server.join().unwrap();
        assert_eq!((answer.status, answer.header("location")), (201, Some("/x")));
        assert_eq!(answer.json().unwrap()["id"], 1);
        assert!(
            request.starts_with("POST /a?b=c HTTP/1.1\r\n") && request.ends_with("{\"n\":1}"),
            "{request}"
        );
        assert!(request.contains("Authorization: Bearer t\r\n"), "{request}");
    }
}
