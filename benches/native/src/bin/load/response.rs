//! An incremental parser for an HTTP/1.1 response.

use std::io;

use crate::conversation::Reply;

/// The limit of a line, more than any server needs here; bounds memory if a head never ends.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Parses one response; `status` and `body_bytes` are valid after `accept` has returned `true`.
#[derive(Debug, Default)]
pub(crate) struct Response {
    state: State,
    /// The unfinished line.
    line: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
    pub(crate) status: u16,
    pub(crate) body_bytes: u64,
    /// Whether the server closes the connection after this response.
    pub(crate) close: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    StatusLine,
    Headers,
    Body {
        left: u64,
    },
    ChunkSize,
    ChunkData {
        left: u64,
    },
    ChunkEnd,
    Trailers,
    Complete,
}

impl Reply for Response {
    fn accept(&mut self, mut bytes: &[u8]) -> io::Result<bool> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Body { left } => {
                    let left = left - self.skip_body(&mut bytes, left);
                    self.state = match left {
                        0 => State::Complete,
                        left => State::Body { left },
                    };
                    bytes
                }
                State::ChunkData { left } => {
                    let left = left - self.skip_body(&mut bytes, left);
                    self.state = match left {
                        0 => State::ChunkEnd,
                        left => State::ChunkData { left },
                    };
                    bytes
                }
                State::Complete => return Err(wrong("bytes after the end of the response")),
                _ => self.take_line(bytes)?,
            };
        }
        Ok(self.state == State::Complete)
    }
}

impl Response {
    fn skip_body(&mut self, bytes: &mut &[u8], left: u64) -> u64 {
        let here = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        *bytes = &bytes[here..];
        self.body_bytes += here as u64;
        here as u64
    }

    /// Appends to the line; when it is complete, interprets it. Returns the remaining bytes.
    fn take_line<'a>(&mut self, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
            self.line.extend_from_slice(bytes);
            if self.line.len() > MAX_LINE_BYTES {
                return Err(wrong("a line of the response is too long"));
            }
            return Ok(&[]);
        };
        self.line.extend_from_slice(&bytes[..end]);
        let mut line = std::mem::take(&mut self.line);
        if line.pop() != Some(b'\r') {
            return Err(wrong("a line of the response does not end in CR LF"));
        }
        let text = std::str::from_utf8(&line).map_err(|_| wrong("the head is not text"))?;
        self.on_line(text)?;
        line.clear();
        self.line = line; // Reuse its memory.
        Ok(&bytes[end + 1..])
    }

    fn on_line(&mut self, line: &str) -> io::Result<()> {
        self.state = match self.state {
            State::StatusLine => {
                self.status = line
                    .strip_prefix("HTTP/1.1 ")
                    .and_then(|rest| rest.get(..3)?.parse().ok())
                    .ok_or_else(|| wrong("not an HTTP/1.1 status line"))?;
                State::Headers
            }
            State::Headers if line.is_empty() => self.after_headers()?,
            State::Headers => {
                self.on_header(line)?;
                State::Headers
            }
            State::ChunkSize => {
                let digits = line.split(';').next().unwrap_or_default().trim();
                match u64::from_str_radix(digits, 16) {
                    Ok(0) => State::Trailers,
                    Ok(left) => State::ChunkData { left },
                    Err(_) => return Err(wrong("not a chunk size")),
                }
            }
            State::ChunkEnd if line.is_empty() => State::ChunkSize,
            State::ChunkEnd => return Err(wrong("a chunk is longer than its size")),
            State::Trailers if line.is_empty() => State::Complete,
            State::Trailers => State::Trailers,
            State::Body { .. } | State::ChunkData { .. } | State::Complete => {
                unreachable!("these states do not read lines")
            }
        };
        Ok(())
    }

    fn on_header(&mut self, line: &str) -> io::Result<()> {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| wrong("a header without a colon"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            let length = value
                .parse()
                .map_err(|_| wrong("content-length is not a number"))?;
            if self.length.replace(length).is_some_and(|old| old != length) {
                return Err(wrong("two different content-lengths"));
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            self.chunked = value.eq_ignore_ascii_case("chunked");
            if !self.chunked {
                return Err(wrong("a transfer-encoding other than chunked"));
            }
        } else if name.eq_ignore_ascii_case("connection") {
            self.close = value.eq_ignore_ascii_case("close");
        }
        Ok(())
    }

    fn after_headers(&mut self) -> io::Result<State> {
        if (100..200).contains(&self.status) {
            *self = Self::default(); // An interim response; the real one follows.
            return Ok(State::StatusLine);
        }
        if matches!(self.status, 204 | 304) {
            return Ok(State::Complete);
        }
        if self.chunked {
            return Ok(State::ChunkSize);
        }
        match self.length {
            Some(0) => Ok(State::Complete),
            Some(left) => Ok(State::Body { left }),
            None => Err(wrong("a body that only ends with the connection")),
        }
    }
}

fn wrong(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every split into two reads, and reading byte by byte, must give the same result.
    fn read(text: &str) -> io::Result<Response> {
        for split in 0..text.len() {
            let mut response = Response::default();
            let (first, second) = text.as_bytes().split_at(split);
            assert!(!response.accept(first)?, "complete after {split} bytes");
            assert!(response.accept(second)?, "incomplete");
        }
        let mut response = Response::default();
        for (index, byte) in text.as_bytes().iter().enumerate() {
            let complete = response.accept(&[*byte])?;
            assert_eq!(complete, index + 1 == text.len());
        }
        Ok(response)
    }

    #[test]
    fn a_body_with_a_length() {
        let response = read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        assert_eq!((response.status, response.body_bytes), (200, 5));
        assert!(!response.close);
    }

    #[test]
    fn a_chunked_body_with_extension_and_trailer() {
        let text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                    5;name=x\r\nhello\r\nA\r\n0123456789\r\n0\r\nchecksum: 1\r\n\r\n";
        let response = read(text).unwrap();
        assert_eq!((response.status, response.body_bytes), (200, 15));
    }

    #[test]
    fn responses_without_a_body() {
        assert_eq!(read("HTTP/1.1 204 No Content\r\n\r\n").unwrap().status, 204);
        let text = "HTTP/1.1 500 Oh\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let response = read(text).unwrap();
        assert_eq!((response.status, response.body_bytes), (500, 0));
        assert!(response.close);
    }

    #[test]
    fn an_interim_response_is_passed_over() {
        let text =
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(read(text).unwrap().status, 201);
    }

    #[test]
    fn malformed_responses_are_refused() {
        for text in [
            "HTTP/1.0 200 OK\r\n",
            "HTTP/1.1 abc\r\n",
            "HTTP/1.1 200 OK\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n",
        ] {
            assert!(
                Response::default().accept(text.as_bytes()).is_err(),
                "{text}"
            );
        }
    }
}
