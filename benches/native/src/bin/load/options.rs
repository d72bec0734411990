//! The command line.

use std::{path::PathBuf, str::FromStr};

use crate::address::Address;

pub(crate) const USAGE: &str = "\
usage: load MODE ADDRESS [--option=value]...

modes
  echo      send --size bytes, wait until they are all back, repeat
  http      HTTP/1.1 keep-alive GET of --path, or POST of --body bytes
  connect   connect, echo --size bytes (0 for none), close, repeat
  idle      open the connections, echo --size bytes once, hold them until stdin closes
  udp       send a datagram of --size bytes, wait until it is back, repeat

ADDRESS is IP:PORT or unix:/path (not for udp).

options
  --connections=N   how many at once (1)
  --size=BYTES      of a message (1024; 1 for connect and idle)
  --seconds=S       length of the measured window (1)
  --messages=N      measure this many messages instead, over all connections
  --warmup=S        seconds of the same work before it, not counted (0.2)
  --path=PATH       of the HTTP request (/)
  --body=BYTES      make the HTTP request a POST with a body of this size
  --expect-body=N   fail unless each HTTP reply's body has this many bytes
  --patience=S      seconds to wait for a stuck server before giving up (10)
  --tls=FILE        TLS, with a server whose certificate the authority in this PEM file has signed
  --gate=yes        after the warm-up print `ready` and wait for a line on stdin; after the result
                    keep the connections open until stdin closes

Prints one JSON object. Exit status: 0, 1 if anything went wrong, 2 for a wrong command line.
";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    Echo,
    Http,
    Connect,
    Idle,
    Udp,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Http => "http",
            Self::Connect => "connect",
            Self::Idle => "idle",
            Self::Udp => "udp",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) address: Address,
    pub(crate) connections: usize,
    pub(crate) size: usize,
    pub(crate) seconds: f64,
    pub(crate) messages: Option<u64>,
    pub(crate) warmup_s: f64,
    pub(crate) path: String,
    pub(crate) body: Option<usize>,
    pub(crate) expect_body: Option<u64>,
    pub(crate) patience_s: f64,
    pub(crate) gate: bool,
    pub(crate) tls: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments that follow the program's name.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mode = match arguments.next().as_deref() {
            Some("echo") => Mode::Echo,
            Some("http") => Mode::Http,
            Some("connect") => Mode::Connect,
            Some("idle") => Mode::Idle,
            Some("udp") => Mode::Udp,
            Some(other) => return Err(format!("unknown mode {other:?}")),
            None => return Err("the mode is missing".to_owned()),
        };
        let mut options = Self {
            mode,
            address: arguments.next().ok_or("the address is missing")?.parse()?,
            connections: 1,
            size: if matches!(mode, Mode::Connect | Mode::Idle) {
                1
            } else {
                1024
            },
            seconds: 1.0,
            messages: None,
            warmup_s: 0.2,
            path: "/".to_owned(),
            body: None,
            expect_body: None,
            patience_s: 10.0,
            gate: false,
            tls: None,
        };
        for argument in arguments {
            let (name, value) = argument
                .split_once('=')
                .ok_or(format!("{argument} is not --option=value"))?;
            match name {
                "--connections" => options.connections = number(name, value)?,
                "--size" => options.size = number(name, value)?,
                "--seconds" => options.seconds = seconds(name, value)?,
                "--messages" => options.messages = Some(number(name, value)?),
                "--warmup" => options.warmup_s = seconds(name, value)?,
                "--path" => value.clone_into(&mut options.path),
                "--body" => options.body = Some(number(name, value)?),
                "--expect-body" => options.expect_body = Some(number(name, value)?),
                "--patience" => options.patience_s = seconds(name, value)?,
                "--tls" => options.tls = Some(value.into()),
                "--gate" => options.gate = value == "yes",
                _ => return Err(format!("unknown option {name}")),
            }
        }
        if options.connections == 0 {
            return Err("--connections must be at least 1".to_owned());
        }
        if options.size == 0 && matches!(mode, Mode::Echo | Mode::Udp) {
            return Err("an empty message cannot be waited for: --size must be at least 1".into());
        }
        Ok(options)
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name} needs a whole number, not {value:?}"))
}

/// At most a day: more is a typing mistake, and `Duration` is limited.
fn seconds(name: &str, value: &str) -> Result<f64, String> {
    match value.parse() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err(format!("{name} needs a number of seconds, not {value:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read() {
        let options = parse("http 127.0.0.1:80 --connections=32 --body=9 --seconds=0.5").unwrap();
        assert_eq!(options.mode, Mode::Http);
        assert_eq!(options.connections, 32);
        assert_eq!(options.body, Some(9));
        assert!((options.seconds - 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn mistakes_are_named() {
        for (line, word) in [
            ("", "mode"),
            ("fly 127.0.0.1:1", "fly"),
            ("echo", "address"),
            ("echo nowhere", "nowhere"),
            ("echo 127.0.0.1:1 --size", "--size"),
            ("echo 127.0.0.1:1 --size=big", "big"),
            ("echo 127.0.0.1:1 --size=0", "--size"),
            ("echo 127.0.0.1:1 --seconds=inf", "inf"),
            ("echo 127.0.0.1:1 --connections=0", "--connections"),
            ("echo 127.0.0.1:1 --speed=9", "--speed"),
        ] {
            let message = parse(line).unwrap_err();
            assert!(message.contains(word), "{line}: {message}");
        }
    }
}
