//! `rift-runtime healthcheck`: for containers, where nothing else is there to ask.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use clap::Args;

use super::Answer;

/// The arguments of `healthcheck`.
#[derive(Debug, Args)]
pub(crate) struct HealthcheckArgs {
    /// Where the server listens, by HTTP without TLS
    #[arg(value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    address: String,
    /// Seconds until the answer must be there
    #[arg(long, value_name = "SECONDS", env = "RIFT_TIMEOUT", default_value = "3", value_parser = super::seconds)]
    timeout: Duration,
}

/// Asks the server whether it is ready.
pub(crate) fn run(args: &HealthcheckArgs, out: &mut dyn Write) -> anyhow::Result<Answer> {
    match ask(args) {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => {
            writeln!(out, "ready")?;
            Ok(Answer::Yes)
        }
        Ok(answer) => {
            let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
            writeln!(out, "not ready: {}", body.trim())?;
            Ok(Answer::No)
        }
        Err(error) => {
            writeln!(out, "not ready: no answer from `{}`: {error}", args.address)?;
            Ok(Answer::No)
        }
    }
}

/// The first byte of what TLS answers to HTTP: an alert.
const ALERT: u8 = 21;

fn ask(args: &HealthcheckArgs) -> std::io::Result<String> {
    if args.address.contains("://") {
        let what =
            "expected an address such as `127.0.0.1:8080`, without a scheme: TLS is not spoken";
        return Err(std::io::Error::other(what));
    }
    let nowhere = || std::io::Error::other("expected an address such as `127.0.0.1:8080`");
    let address = args.address.to_socket_addrs()?.next().ok_or_else(nowhere)?;
    let mut stream = TcpStream::connect_timeout(&address, args.timeout)?;
    stream.set_read_timeout(Some(args.timeout))?;
    stream.set_write_timeout(Some(args.timeout))?;
    let host = &args.address;
    let question =
        format!("GET /v2/health/ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    // Who refuses the question answers before it ends, and hangs up: what it said decides.
    let written = stream.write_all(question.as_bytes());
    let mut answer = Vec::new();
    // An answer is small; what is larger is none of this server's.
    let read = stream.take(1 << 16).read_to_end(&mut answer);
    if answer.first() == Some(&ALERT) {
        let what = "expected HTTP, found TLS, which `healthcheck` does not speak (`curl` does)";
        return Err(std::io::Error::other(what));
    }
    written.and(read)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
