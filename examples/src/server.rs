//! A small HTTP server on plain threads, with limits, deadlines and a graceful stop.
//!
//! Does: one thread per connection, a bounded number of them; on [`Stop::ask`] it serves what already waits in the
//! listen queue, closes the listener, lets open requests finish, tells kept connections that they end, and returns.
//! Never: decides what is answered; touches signals (see [`Stop::on_signals`] for who asks).
//! Called by: `src/bin/shop.rs` and the tests.

use std::{
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::http::{self, Request, Response};

/// Connections served at a time; more wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 128;
/// A request must have come whole this long after its connection was accepted, and be written this fast.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// After the stop was asked, open requests get this long: less than the ten seconds Docker waits before it kills.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// A connection kept by its client may be silent for so long between two requests.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// After the stop was asked, a kept connection that is silent is kept for so long: a request may be on its way, and is
/// answered as the last one.
pub const IDLE_AFTER_STOP: Duration = Duration::from_secs(1);
/// How often a silent connection looks whether the stop was asked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A listener that is not serving yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    stop: Stop,
}

/// Ends a server; can be cloned and asked from any thread, any number of times.
#[derive(Debug, Clone)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    address: SocketAddr,
}

/// Counts open connections.
#[derive(Debug, Default)]
struct Gate {
    open: Mutex<usize>,
    changed: Condvar,
}

/// One place in the gate, given back when dropped.
struct Place(Arc<Gate>);

// === impl Server ===

impl Server {
    /// Binds `address` (`0.0.0.0:8080`; port 0 picks a free one).
    ///
    /// # Errors
    /// The operating system's, as when the port is taken.
    pub fn bind(address: SocketAddr) -> io::Result<Server> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        Ok(Server { listener, stop: Stop { asked: Arc::new(AtomicBool::new(false)), address } })
    }

    /// Where this server listens.
    pub fn address(&self) -> SocketAddr {
        self.stop.address
    }

    /// What ends this server.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Serves until the stop is asked and the open requests are done. True if all of them finished in time.
    pub fn serve(self, answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> bool {
        let answer = Arc::new(answer);
        let gate = Arc::new(Gate::default());
        while !self.stop.is_asked() {
            let place = Gate::enter(&gate);
            match self.listener.accept() {
                Ok((stream, _)) => spawn(stream, place, self.stop.clone(), Arc::clone(&answer)),
                // Out of descriptors, most likely: give the open connections a moment to end.
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
        // Connections in the kernel's queue were accepted as far as their clients know: closing the listener would
        // reset them.
        if self.listener.set_nonblocking(true).is_ok() {
            while let Ok((stream, _)) = self.listener.accept() {
                if stream.set_nonblocking(false).is_ok() {
                    spawn(stream, Gate::enter(&gate), self.stop.clone(), Arc::clone(&answer));
                }
            }
        }
        drop(self.listener);
        gate.empty_before(Instant::now() + DRAIN_TIMEOUT)
    }
}

// === impl Stop ===

impl Stop {
    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Asks the server to end.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
        // `accept` blocks: a connection of our own wakes it. If it fails the server is not accepting any more.
        let _ = TcpStream::connect_timeout(&reachable(self.address), Duration::from_secs(1));
    }

    /// Asks on SIGTERM or SIGINT from now on. The first process of a container must do this itself: the kernel
    /// applies no default action there.
    ///
    /// # Errors
    /// The operating system's, when the signals cannot be watched.
    pub fn on_signals(&self) -> io::Result<()> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let stop = self.clone();
        thread::Builder::new().name("signals".into()).spawn(move || signals.forever().for_each(|_| stop.ask()))?;
        Ok(())
    }
}

// === impl Gate ===

impl Gate {
    fn count(&self) -> MutexGuard<'_, usize> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a free place.
    fn enter(gate: &Arc<Gate>) -> Place {
        let full = |open: &mut usize| *open >= MAX_CONNECTIONS;
        let mut open = gate.changed.wait_while(gate.count(), full).unwrap_or_else(PoisonError::into_inner);
        *open += 1;
        drop(open);
        Place(Arc::clone(gate))
    }

    /// Waits until nobody is left. False if `deadline` came first.
    fn empty_before(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let (open, _) = self
            .changed
            .wait_timeout_while(self.count(), left, |open| *open > 0)
            .unwrap_or_else(PoisonError::into_inner);
        *open == 0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.count() -= 1;
        self.0.changed.notify_all();
    }
}

fn spawn(
    stream: TcpStream,
    place: Place,
    stop: Stop,
    answer: Arc<impl Fn(&Request) -> Response + Send + Sync + 'static>,
) {
    let serve = move || {
        converse(stream, &stop, &*answer);
        drop(place);
    };
    // Without a thread the connection is closed, and its place given back: both were moved into the closure.
    let _ = thread::Builder::new().name("connection".into()).stack_size(512 * 1024).spawn(serve);
}

fn converse(mut stream: TcpStream, stop: &Stop, answer: &impl Fn(&Request) -> Response) {
    // A peer that is gone shows itself in the write; there is nobody left to tell.
    let _ = stream.set_write_timeout(Some(REQUEST_TIMEOUT));
    let _ = stream.set_nodelay(true);
    while exchange(&mut stream, stop, answer) && another_comes(&stream, stop) {}
}

/// One request and its answer. True if more may come on this connection.
fn exchange(stream: &mut TcpStream, stop: &Stop, answer: &impl Fn(&Request) -> Response) -> bool {
    match Request::read(stream, Instant::now() + REQUEST_TIMEOUT) {
        Ok(mut request) => {
            let head_only = request.method == "HEAD";
            if head_only {
                request.method = "GET".to_owned();
            }
            let response = answer(&request);
            let keep_alive = request.keep_alive && !stop.is_asked();
            response.write(stream, head_only, keep_alive).is_ok() && keep_alive
        }
        Err(error) => {
            if let Some(response) = http::refusal(&error) {
                let _ = response.write(stream, false, false);
                swallow(stream);
            }
            false
        }
    }
}

/// Waits for the first byte of another request. False when the connection is to end.
fn another_comes(stream: &TcpStream, stop: &Stop) -> bool {
    let mut end = Instant::now() + IDLE_TIMEOUT;
    let mut told = false;
    if stream.set_read_timeout(Some(LOOK_EVERY)).is_err() {
        return false;
    }
    loop {
        match stream.peek(&mut [0]) {
            Ok(count) => return count > 0,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
        if !told && stop.is_asked() {
            told = true;
            end = end.min(Instant::now() + IDLE_AFTER_STOP);
        }
        if Instant::now() >= end {
            return false;
        }
    }
}

/// Reads what a refused client still sends, a little: closing with unread bytes would reset the refusal away.
fn swallow(stream: &mut TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
    let mut rest = [0; 4096];
    for _ in 0..32 {
        if !matches!(stream.read(&mut rest), Ok(count) if count > 0) {
            return;
        }
    }
}

/// An address under which this machine reaches a listener: "any" is listened on, but not connected to.
pub fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::mpsc};

    use super::*;

    fn start(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> (Stop, thread::JoinHandle<bool>) {
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let stop = server.stop();
        (stop, thread::spawn(move || server.serve(answer)))
    }

    fn exchange(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_body_comes_whole_even_in_pieces() {
        let (stop, running) = start(|request| Response::text(200, &String::from_utf8_lossy(&request.body)));
        let mut stream = TcpStream::connect(stop.address).unwrap();
        for piece in ["POST / HTTP/1.1\r\nContent-Le", "ngth: 6\r\n\r\nab", "cd", "ef"] {
            stream.write_all(piece.as_bytes()).unwrap();
            stream.flush().unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nabcdef\n"), "{answer}");
        stop.ask();
        assert!(running.join().unwrap());
    }

    #[test]
    fn head_gets_no_body_and_nonsense_a_refusal() {
        let (stop, running) = start(|_| Response::text(200, "body"));
        let head = exchange(stop.address, b"HEAD / HTTP/1.1\r\n\r\n");
        assert!(head.contains("Content-Length: 5\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(exchange(stop.address, b"nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
        let long = vec![b'a'; http::MAX_HEAD_BYTES + 4096];
        assert!(exchange(stop.address, &long).starts_with("HTTP/1.1 413 "));
        stop.ask();
        assert!(running.join().unwrap());
    }

    /// Status line and headers of the next answer on a kept connection.
    fn next_answer(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\nok\n") {
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn a_kept_connection_is_told_of_the_stop_with_its_last_answer() {
        let (stop, running) = start(|_| Response::healthy());
        let ask = b"GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n";
        let [mut busy, mut idle] = [(); 2].map(|()| TcpStream::connect(stop.address).unwrap());
        idle.write_all(ask).unwrap();
        assert!(next_answer(&mut idle).contains("Connection: keep-alive\r\n"));
        busy.write_all(ask).unwrap();
        assert!(next_answer(&mut busy).contains("Connection: keep-alive\r\n"));
        stop.ask();
        busy.write_all(ask).unwrap();
        assert!(next_answer(&mut busy).contains("Connection: close\r\n"), "after the stop");
        assert_eq!(busy.read(&mut [0]).unwrap(), 0, "and it ends");
        assert!(running.join().unwrap(), "the idle one did not keep the server");
        drop(idle);
    }

    #[test]
    fn a_stop_lets_the_open_request_finish_and_refuses_new_ones() {
        let (entered, has_entered) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let (stop, running) = start(move |_| {
            entered.send(()).unwrap();
            released.lock().unwrap().recv().unwrap();
            Response::healthy()
        });
        let address = stop.address;
        let client = thread::spawn(move || exchange(address, b"GET / HTTP/1.1\r\n\r\n"));
        has_entered.recv().unwrap();
        stop.ask();
        while TcpStream::connect(address).is_ok() {
            thread::yield_now();
        }
        assert!(!running.is_finished(), "the server left while a request was open");
        release.send(()).unwrap();
        assert!(client.join().unwrap().ends_with("ok\n"));
        assert!(running.join().unwrap());
    }
}
