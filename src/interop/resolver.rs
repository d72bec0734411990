//! Threads on which the C library looks names up. They run no Python, and never wait for the GIL.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use crate::sys::fork::Generation;
use crate::sys::names::{Entry, Failure, Question, addresses};

pub(super) type Answer = Result<Vec<Entry>, Failure>;

/// A pool of threads, which are started on demand.
pub(super) struct Resolver {
    pool: Arc<Pool>,
    /// A forked child does not have its parent's threads.
    generation: Generation,
}

struct Pool {
    answer: fn(&Question) -> Answer,
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Arc<Job>>,
    threads: usize,
    /// Those that take a job from the queue before they end.
    idle: usize,
    closed: bool,
}

struct Job {
    question: Question,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    answer: Option<Answer>,
    waker: Option<Waker>,
    is_abandoned: bool,
}

/// The answer, once a thread has it. Dropping this gives it up.
pub(super) struct LookUp(Arc<Job>);

impl Resolver {
    pub(super) fn new() -> Self {
        Self::over(addresses)
    }

    /// Over a function that answers, and may block.
    fn over(answer: fn(&Question) -> Answer) -> Self {
        Self {
            pool: Arc::new(Pool {
                answer,
                state: Mutex::default(),
                news: Condvar::new(),
            }),
            generation: Generation::current(),
        }
    }

    /// Gives a thread the question; `None` if there is no thread to take it.
    pub(super) fn ask(&self, question: Question) -> Option<LookUp> {
        if self.generation.is_over() {
            return None;
        }
        let job = Arc::new(Job {
            question,
            progress: Mutex::default(),
        });
        let mut state = self.pool.state();
        if state.closed || state.jobs.try_reserve(1).is_err() {
            return None;
        }
        if state.jobs.len() >= state.idle && !self.pool.start_thread(&mut state) {
            return None;
        }
        state.jobs.push_back(Arc::clone(&job));
        drop(state);
        self.pool.news.notify_one();
        Some(LookUp(job))
    }

    /// Tells the threads to end after their current calls, without waiting for them.
    pub(super) fn close(&self) {
        if self.generation.is_over() {
            return; // One of the parent's threads may have held the lock when the process forked.
        }
        let mut state = self.pool.state();
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.pool.news.notify_all();
    }
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread if there may be one more. Returns whether any thread will take a job.
    fn start_thread(self: &Arc<Self>, state: &mut State) -> bool {
        if state.threads < MOST_THREADS {
            let this = Arc::clone(self);
            let thread = thread::Builder::new().name("yamanote-dns".to_owned());
            if thread.spawn(move || this.work()).is_ok() {
                state.threads += 1;
                state.idle += 1;
            }
        }
        state.threads > 0
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            let answer = job.is_wanted().then(|| (self.answer)(&job.question));
            // Before the answer is out: a call made in response can use this thread.
            self.state().idle += 1;
            if let Some(answer) = answer {
                job.settle(answer);
            }
        }
    }

    /// Waits for a job; `None` tells an idle thread to end.
    fn next(&self) -> Option<Arc<Job>> {
        let mut state = self.state();
        let mut is_late = false;
        loop {
            let job = state.jobs.pop_front();
            if job.is_none() && !state.closed && !is_late {
                let waited = self.news.wait_timeout(state, IDLE);
                let (guard, time) = waited.unwrap_or_else(PoisonError::into_inner);
                (state, is_late) = (guard, time.timed_out());
                continue;
            }
            state.idle -= 1;
            if job.is_none() {
                state.threads -= 1;
            }
            return job;
        }
    }
}

impl Job {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_wanted(&self) -> bool {
        !self.progress().is_abandoned
    }

    fn settle(&self, answer: Answer) {
        let mut progress = self.progress();
        progress.answer = Some(answer);
        let waker = progress.waker.take();
        drop(progress);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for LookUp {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let mut progress = self.0.progress();
        if let Some(answer) = progress.answer.take() {
            return Poll::Ready(answer);
        }
        progress.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for LookUp {
    fn drop(&mut self) {
        // Locked, the answer is on its way, and its thread takes the waker. In a forked child that thread is not there.
        if let Ok(mut progress) = self.0.progress.try_lock() {
            progress.is_abandoned = true;
            let waker = progress.waker.take();
            drop(progress);
            drop(waker);
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// Enough for a burst of slow look-ups, each of which blocks its thread until the resolver times out, after 5 seconds or
/// more; as many as `_dns_threads.py` has.
const MOST_THREADS: usize = 64;

/// A thread that is idle for so long ends; as in `_dns_threads.py`.
const IDLE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::Wake;

    use super::*;
    use crate::sys::names::Hints;

    fn question(host: &str) -> Question {
        Question {
            host: CString::new(host).unwrap(),
            port: c"80".to_owned(),
            hints: Hints {
                family: 0,
                kind: 0,
                protocol: 0,
                flags: 0,
            },
        }
    }

    /// Fails with the name as its reason.
    fn echo(question: &Question) -> Answer {
        let host = question.host.to_str().unwrap();
        Err(Failure::Resolver(1, host.to_owned()))
    }

    struct Bell(Mutex<Sender<()>>);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.lock().unwrap().send(()).unwrap();
        }
    }

    fn bell() -> (Waker, Receiver<()>) {
        let (sender, receiver) = channel();
        (Waker::from(Arc::new(Bell(Mutex::new(sender)))), receiver)
    }

    fn wait(mut look_up: LookUp) -> String {
        let (waker, rings) = bell();
        loop {
            match Pin::new(&mut look_up).poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(Err(Failure::Resolver(_, text))) => return text,
                Poll::Ready(answer) => panic!("{answer:?}"),
                Poll::Pending => rings.recv().unwrap(),
            }
        }
    }

    #[test]
    fn every_question_gets_its_answer() {
        let resolver = Resolver::over(echo);
        let hosts: Vec<_> = (0..200).map(|number| format!("host{number}")).collect();
        let asked: Vec<_> = hosts
            .iter()
            .map(|host| resolver.ask(question(host)).unwrap())
            .collect();
        let answers: Vec<_> = asked.into_iter().map(wait).collect();
        assert_eq!(answers, hosts);
        assert!(resolver.pool.state().threads <= MOST_THREADS);
        resolver.close();
    }

    #[test]
    fn an_idle_thread_is_used_again() {
        let resolver = Resolver::over(echo);
        for _ in 0..100 {
            wait(resolver.ask(question("again")).unwrap());
            assert_eq!(resolver.pool.state().threads, 1);
        }
        resolver.close();
    }

    #[test]
    fn threads_are_bounded_and_what_was_given_up_is_not_asked() {
        static HELD: Mutex<()> = Mutex::new(());
        static ASKED: Mutex<Vec<String>> = Mutex::new(Vec::new());
        fn slow(question: &Question) -> Answer {
            let host = question.host.to_str().unwrap().to_owned();
            drop(HELD.lock().unwrap());
            ASKED.lock().unwrap().push(host);
            echo(question)
        }
        let held = HELD.lock().unwrap();
        let resolver = Resolver::over(slow);
        let asked: Vec<_> = (0..MOST_THREADS)
            .map(|_| resolver.ask(question("slow")).unwrap())
            .collect();
        while !resolver.pool.state().jobs.is_empty() {
            thread::yield_now(); // Until each thread has one.
        }
        let (waiting, given_up) = (question("waiting"), question("given-up"));
        let given_up = resolver.ask(given_up).unwrap();
        let waiting = resolver.ask(waiting).unwrap();
        assert_eq!(resolver.pool.state().threads, MOST_THREADS);
        drop(given_up);
        drop(held);
        assert_eq!(wait(waiting), "waiting");
        for look_up in asked {
            wait(look_up);
        }
        assert!(!ASKED.lock().unwrap().contains(&"given-up".to_owned()));
        resolver.close();
    }

    #[test]
    fn a_closed_one_has_no_threads_and_takes_no_questions() {
        let resolver = Resolver::over(echo);
        wait(resolver.ask(question("one")).unwrap());
        resolver.close();
        while resolver.pool.state().threads > 0 {
            thread::yield_now();
        }
        assert!(resolver.ask(question("two")).is_none());
    }
}
