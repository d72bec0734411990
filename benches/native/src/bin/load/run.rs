//! Runs many workers concurrently until a limit.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{task::LocalSet, time::timeout};

use crate::histogram::Histogram;

/// The repeated work of one connection.
pub(crate) trait Work: 'static {
    /// Sends one message and receives its reply. After an error the worker is dropped.
    async fn once(&mut self) -> io::Result<()>;
}

/// When a worker stops, always between two messages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    Seconds(f64),
    Messages(u64),
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) latencies: Histogram,
    pub(crate) seconds: f64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

/// Runs all workers until the limit, and returns those that had no error.
///
/// Fails only if the server has not replied within `patience` after the limit.
pub(crate) async fn run<W: Work>(
    workers: Vec<W>,
    limit: Limit,
    patience: Duration,
) -> io::Result<(Vec<W>, Outcome)> {
    let start = Instant::now();
    let (deadline, messages) = match limit {
        Limit::Seconds(seconds) => (Some(start + Duration::from_secs_f64(seconds)), u64::MAX),
        Limit::Messages(messages) => (None, messages),
    };
    let board = Rc::new(Board {
        deadline,
        messages_left: Cell::new(messages),
        latencies: RefCell::new(Histogram::new()),
        errors: Cell::new(0),
        first_error: RefCell::new(None),
    });
    let tasks = LocalSet::new();
    let handles: Vec<_> = workers
        .into_iter()
        .map(|worker| tasks.spawn_local(work(worker, Rc::clone(&board))))
        .collect();
    let all = tasks.run_until(async {
        let mut sound = Vec::with_capacity(handles.len());
        for handle in handles {
            sound.extend(handle.await.map_err(io::Error::other)?);
        }
        Ok::<_, io::Error>(sound)
    });
    let wait = deadline.map_or(patience, |at| {
        at.saturating_duration_since(start) + patience
    });
    let sound = timeout(wait, all).await.map_err(|_| {
        let so_far = board.latencies.borrow().count();
        let message = format!("the server stopped answering (after {so_far} messages)");
        io::Error::new(io::ErrorKind::TimedOut, message)
    })??;
    let outcome = Outcome {
        latencies: board.latencies.borrow().clone(),
        seconds: start.elapsed().as_secs_f64(),
        errors: board.errors.get(),
        first_error: board.first_error.borrow().clone(),
    };
    Ok((sound, outcome))
}

/// State shared by the workers of a run.
struct Board {
    deadline: Option<Instant>,
    messages_left: Cell<u64>,
    latencies: RefCell<Histogram>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
}

async fn work<W: Work>(mut worker: W, board: Rc<Board>) -> Option<W> {
    let mut now = Instant::now();
    while board.deadline.is_none_or(|deadline| now < deadline) && board.messages_left.get() > 0 {
        board.messages_left.set(board.messages_left.get() - 1);
        if let Err(error) = worker.once().await {
            board.errors.set(board.errors.get() + 1);
            let mut first_error = board.first_error.borrow_mut();
            first_error.get_or_insert_with(|| error.to_string());
            return None;
        }
        let done = Instant::now();
        board.latencies.borrow_mut().record(done - now);
        now = done;
    }
    Some(worker)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails at its `fails_at`th message.
    struct Counter {
        done: u64,
        fails_at: u64,
    }

    impl Work for Counter {
        async fn once(&mut self) -> io::Result<()> {
            tokio::task::yield_now().await;
            self.done += 1;
            if self.done == self.fails_at {
                return Err(io::Error::other("as told"));
            }
            Ok(())
        }
    }

    fn outcome(fails_at: u64, limit: Limit) -> (Vec<Counter>, Outcome) {
        let workers = (0..3).map(|_| Counter { done: 0, fails_at }).collect();
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(run(workers, limit, Duration::from_secs(10)))
            .unwrap()
    }

    #[test]
    fn messages_are_counted_over_all_workers() {
        let (workers, outcome) = outcome(0, Limit::Messages(100));
        assert_eq!(outcome.latencies.count(), 100);
        assert_eq!(workers.iter().map(|worker| worker.done).sum::<u64>(), 100);
        assert_eq!((outcome.errors, outcome.first_error), (0, None));
    }

    #[test]
    fn a_failed_worker_is_counted_and_gone() {
        let (workers, outcome) = outcome(5, Limit::Messages(1000));
        assert_eq!(workers.len(), 0);
        assert_eq!(outcome.latencies.count(), 12);
        assert_eq!(outcome.errors, 3);
        assert_eq!(outcome.first_error.as_deref(), Some("as told"));
    }

    #[test]
    fn a_window_is_not_shorter_than_asked() {
        let (workers, outcome) = outcome(0, Limit::Seconds(0.02));
        assert_eq!(workers.len(), 3);
        assert!(outcome.seconds >= 0.02);
    }
}
