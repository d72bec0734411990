//! The work of a connection in each mode.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UdpSocket,
    time::timeout,
};

use crate::{
    address::{Address, Stream},
    connector::Connector,
    conversation::converse,
    options::Options,
    pattern::{Echo, Messages},
    response::Response,
    run::Work,
};

/// Opens the connections one after the other, so that a small backlog is enough.
async fn open(options: &Options) -> io::Result<Vec<Box<dyn Stream>>> {
    let connector = Connector::new(options)?;
    let mut streams = Vec::with_capacity(options.connections);
    for number in 0..options.connections {
        let stream = in_time(options, connector.connect())
            .await
            .map_err(|error| {
                io::Error::new(error.kind(), format!("connection {number}: {error}"))
            })?;
        streams.push(stream);
    }
    Ok(streams)
}

/// Connects with a timeout: for a stuck server the kernel would wait for minutes.
pub(crate) async fn in_time<T>(
    options: &Options,
    step: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let patience = Duration::from_secs_f64(options.patience_s);
    timeout(patience, step)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
}

/// `echo`, and `idle`, which echoes once.
pub(crate) struct EchoWork {
    stream: Box<dyn Stream>,
    messages: Messages,
}

impl EchoWork {
    pub(crate) async fn open(options: &Options) -> io::Result<Vec<Self>> {
        let messages = Messages::new(options.size);
        let workers = open(options).await?.into_iter().enumerate();
        Ok(workers
            .map(|(number, stream)| Self {
                stream,
                messages: messages.for_connection(number),
            })
            .collect())
    }
}

impl Work for EchoWork {
    async fn once(&mut self) -> io::Result<()> {
        let message = self.messages.next_message();
        converse(&mut self.stream, message, &mut Echo { expected: message }).await
    }
}

/// `http`: repeats a request on one connection.
pub(crate) struct HttpWork {
    stream: Box<dyn Stream>,
    request: Rc<[u8]>,
    expect_body: Option<u64>,
}

impl HttpWork {
    pub(crate) async fn open(options: &Options) -> io::Result<Vec<Self>> {
        let request: Rc<[u8]> = request(options).into();
        let streams = open(options).await?.into_iter();
        Ok(streams
            .map(|stream| Self {
                stream,
                request: Rc::clone(&request),
                expect_body: options.expect_body,
            })
            .collect())
    }
}

fn request(options: &Options) -> Vec<u8> {
    let (method, entity) = match options.body {
        None => ("GET", String::new()),
        Some(size) => (
            "POST",
            format!("Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n"),
        ),
    };
    let head = format!(
        "{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: yamanote-load\r\nAccept: */*\r\n{entity}\r\n",
        options.path, options.address
    );
    let mut request = head.into_bytes();
    if let Some(size) = options.body {
        request.extend_from_slice(Messages::new(size).next_message());
    }
    request
}

impl Work for HttpWork {
    async fn once(&mut self) -> io::Result<()> {
        let mut response = Response::default();
        converse(&mut self.stream, &self.request, &mut response).await?;
        if !(200..300).contains(&response.status) {
            return Err(io::Error::other(format!("status {}", response.status)));
        }
        if response.close {
            return Err(io::Error::other(
                "the server refused to keep the connection",
            ));
        }
        match self.expect_body {
            Some(expected) if expected != response.body_bytes => Err(io::Error::other(format!(
                "a body of {} bytes instead of {expected}",
                response.body_bytes
            ))),
            _ => Ok(()),
        }
    }
}

/// `connect`: one connection per message, closed by both sides in an orderly way.
pub(crate) struct ConnectWork {
    connector: Connector,
    messages: Messages,
}

impl ConnectWork {
    pub(crate) fn new(options: &Options) -> io::Result<Vec<Self>> {
        let messages = Messages::new(options.size);
        let connector = Connector::new(options)?;
        let workers = (0..options.connections).map(|number| Self {
            connector: connector.clone(),
            messages: messages.for_connection(number),
        });
        Ok(workers.collect())
    }
}

impl Work for ConnectWork {
    async fn once(&mut self) -> io::Result<()> {
        let mut stream = self.connector.connect().await?;
        let message = self.messages.next_message();
        if !message.is_empty() {
            converse(&mut stream, message, &mut Echo { expected: message }).await?;
        }
        stream.shutdown().await?;
        // The message ends when the server has closed, too, so that its close is measured.
        match stream.read(&mut [0]).await? {
            0 => Ok(()),
            _ => Err(io::Error::other("bytes after the end of the echo")),
        }
    }
}

/// `udp`: the round trip of a datagram.
pub(crate) struct UdpWork {
    socket: UdpSocket,
    messages: Messages,
    buffer: Vec<u8>,
    patience: Duration,
}

impl UdpWork {
    pub(crate) async fn open(options: &Options) -> io::Result<Vec<Self>> {
        let Address::Inet(address) = options.address else {
            return Err(io::Error::other("udp needs IP:PORT"));
        };
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let messages = Messages::new(options.size);
        let mut workers = Vec::with_capacity(options.connections);
        for number in 0..options.connections {
            let socket = UdpSocket::bind(local).await?;
            socket.connect(address).await?;
            workers.push(Self {
                socket,
                messages: messages.for_connection(number),
                buffer: vec![0; options.size + 1],
                patience: Duration::from_secs_f64(options.patience_s),
            });
        }
        Ok(workers)
    }
}

impl Work for UdpWork {
    async fn once(&mut self) -> io::Result<()> {
        let message = self.messages.next_message();
        self.socket.send(message).await?;
        let received = timeout(self.patience, self.socket.recv(&mut self.buffer))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "a datagram was lost"))??;
        if self.buffer[..received] == *message {
            return Ok(());
        }
        Err(io::Error::other("the echo differs from what was sent"))
    }
}
