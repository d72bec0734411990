//! The load client: keeps a number of connections busy and reports throughput and latencies.
//!
//! It uses one thread, so that on a two-core machine the server has the other core to itself. All
//! replies are checked: a fast but wrong server must not win.

mod address;
mod connector;
mod conversation;
mod histogram;
mod modes;
mod options;
mod pattern;
mod response;
mod run;

use std::{
    io::{self, Read, Write},
    process::ExitCode,
    time::Duration,
};

use crate::{
    modes::{ConnectWork, EchoWork, HttpWork, UdpWork, in_time},
    options::{Mode, Options, USAGE},
    run::{Limit, Outcome, Work, run},
};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("load: {message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match start(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {} {}: {error}", options.mode.name(), options.address);
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        match options.mode {
            Mode::Echo => measure(EchoWork::open(options).await?, options).await,
            Mode::Http => measure(HttpWork::open(options).await?, options).await,
            Mode::Connect => measure(ConnectWork::new(options)?, options).await,
            Mode::Udp => measure(UdpWork::open(options).await?, options).await,
            Mode::Idle => hold(EchoWork::open(options).await?, options).await,
        }
    })
}

/// Warms up, waits for the start signal if `--gate` is set, measures, and prints the result.
async fn measure(mut workers: Vec<impl Work>, options: &Options) -> io::Result<()> {
    let patience = Duration::from_secs_f64(options.patience_s);
    let mut outcome;
    if options.warmup_s > 0.0 {
        (workers, outcome) = run(workers, Limit::Seconds(options.warmup_s), patience).await?;
        fail_on_errors(&outcome)?;
    }
    if options.gate {
        say("ready")?;
        // The thread may block: no operation is in progress, and every connection is idle.
        if io::stdin().read_line(&mut String::new())? == 0 {
            return Err(io::Error::other("stdin was closed before the start"));
        }
    }
    let limit = options
        .messages
        .map_or(Limit::Seconds(options.seconds), Limit::Messages);
    (workers, outcome) = run(workers, limit, patience).await?;
    say(&json(options, &outcome))?;
    fail_on_errors(&outcome)?;
    if options.gate {
        wait_for_end_of_input()?;
    }
    drop(workers); // Not earlier: closing must not be measured.
    Ok(())
}

/// Opens all connections, uses each once, and holds them open.
async fn hold(mut workers: Vec<EchoWork>, options: &Options) -> io::Result<()> {
    if options.size > 0 {
        for worker in &mut workers {
            in_time(options, worker.once()).await?;
        }
    }
    let connections = workers.len();
    say(&format!(
        r#"{{"mode":"idle","connections":{connections},"errors":0}}"#
    ))?;
    wait_for_end_of_input()?;
    drop(workers);
    Ok(())
}

fn fail_on_errors(outcome: &Outcome) -> io::Result<()> {
    match &outcome.first_error {
        None => Ok(()),
        Some(error) => Err(io::Error::other(format!(
            "{} connections failed, the first one with: {error}",
            outcome.errors
        ))),
    }
}

fn json(options: &Options, outcome: &Outcome) -> String {
    let requests = outcome.latencies.count();
    #[expect(clippy::cast_precision_loss, reason = "a count stays below 2^53")]
    let rps = requests as f64 / outcome.seconds;
    let quantile = |fraction| {
        outcome
            .latencies
            .quantile_us(fraction)
            .map_or("null".to_owned(), |us| format!("{us:.3}"))
    };
    format!(
        r#"{{"mode":"{}","connections":{},"requests":{requests},"seconds":{:.6},"rps":{rps:.1},"p50_us":{},"p99_us":{},"errors":{}}}"#,
        options.mode.name(),
        options.connections,
        outcome.seconds,
        quantile(0.5),
        quantile(0.99),
        outcome.errors
    )
}

fn say(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

fn wait_for_end_of_input() -> io::Result<()> {
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}
