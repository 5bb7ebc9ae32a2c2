//! A small SMTP server that keeps what it gets and can misbehave.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the server says to `RCPT TO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Kind,
    Busy,
    Refusing,
}

/// How a connection begins.
#[derive(Clone)]
pub(crate) enum Transport {
    Plain,
    StartTls(TlsAcceptor),
    Implicit(TlsAcceptor),
}

/// One delivered mail.
#[derive(Debug, Clone)]
pub(crate) struct Delivered {
    pub(crate) to: String,
    /// Headers and body as they came.
    pub(crate) data: String,
    /// Came through TLS.
    pub(crate) encrypted: bool,
}

impl Delivered {
    /// The body with its soft line breaks and escaped equal signs undone.
    pub(crate) fn readable(&self) -> String {
        self.data.replace("=\n", "").replace("=3D", "=")
    }

    /// Value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.data.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix(&prefix))
    }
}

#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) port: u16,
    mails: Arc<Mutex<Vec<Delivered>>>,
    mood: Arc<Mutex<Mood>>,
}

impl Sink {
    pub(crate) async fn start() -> Self {
        Self::start_with(Transport::Plain, "127.0.0.1:0").await
    }

    pub(crate) async fn start_with(transport: Transport, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let sink = Self {
            port: listener.local_addr().unwrap().port(),
            mails: Arc::default(),
            mood: Arc::new(Mutex::new(Mood::Kind)),
        };
        let server = sink.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, transport) = (server.clone(), transport.clone());
                // A client that goes away ends its dialogue; that is no failure.
                tokio::spawn(async move { server.greet(stream, transport).await.ok() });
            }
        });
        sink
    }

    pub(crate) fn mails(&self) -> Vec<Delivered> {
        self.mails.lock().unwrap().clone()
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    async fn greet(&self, mut stream: tokio::net::TcpStream, transport: Transport) -> std::io::Result<()> {
        match transport {
            Transport::Plain => {
                stream.write_all(b"220 test\r\n").await?;
                self.talk(stream, false, false).await.map(drop)
            }
            Transport::Implicit(acceptor) => {
                let mut stream = acceptor.accept(stream).await?;
                stream.write_all(b"220 test\r\n").await?;
                self.talk(stream, false, true).await.map(drop)
            }
            Transport::StartTls(acceptor) => {
                stream.write_all(b"220 test\r\n").await?;
                let Some(stream) = self.talk(stream, true, false).await? else { return Ok(()) };
                let stream = acceptor.accept(stream).await?;
                self.talk(stream, false, true).await.map(drop)
            }
        }
    }

    /// The dialogue; gives the stream back when the client wants TLS.
    async fn talk<S>(&self, stream: S, offers_tls: bool, encrypted: bool) -> std::io::Result<Option<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = BufReader::new(stream);
        let mut to = String::new();
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            let command = line.trim_end().to_ascii_uppercase();
            let mood = *self.mood.lock().unwrap();
            let answer = if command.starts_with("EHLO") {
                if offers_tls { "250-test\r\n250 STARTTLS\r\n" } else { "250 test\r\n" }
            } else if command == "STARTTLS" {
                stream.write_all(b"220 go\r\n").await?;
                return Ok(Some(stream.into_inner()));
            } else if command.starts_with("RCPT") {
                to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                match mood {
                    Mood::Kind => "250 ok\r\n",
                    Mood::Busy => "451 come back later\r\n",
                    Mood::Refusing => "550 no such user\r\n",
                }
            } else if command == "DATA" {
                stream.write_all(b"354 go\r\n").await?;
                let data = read_data(&mut stream).await?;
                self.mails.lock().unwrap().push(Delivered { to: to.clone(), data, encrypted });
                "250 kept\r\n"
            } else if command == "QUIT" {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(None);
            } else {
                "250 ok\r\n"
            };
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}

async fn read_data<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>) -> std::io::Result<String> {
    let mut data = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line == ".\r\n" {
            return Ok(data.replace("\r\n", "\n"));
        }
        data.push_str(&line);
    }
}
