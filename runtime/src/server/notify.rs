//! What the system's service manager is told: whether the server is ready, and that it gets on with its
//! work.
//!
//! # References
//! `sd_notify(3)`; `sd_watchdog_enabled(3)`.

use std::ffi::OsStr;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::app::App;

/// How often it is looked whether there is something to tell.
const LOOK: Duration = Duration::from_millis(100);

/// The service manager that has started this process.
#[derive(Debug)]
pub(super) struct Manager {
    socket: UnixDatagram,
    /// It ends the process if it hears nothing for so long.
    patience: Option<Duration>,
    /// What cannot be told is complained of once.
    complaint: Mutex<Option<io::ErrorKind>>,
}

impl Manager {
    /// The manager that the environment names, if it names one.
    pub(super) fn of_environment() -> Option<Self> {
        let address = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())?;
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let is_meant =
            number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let patience = number("WATCHDOG_USEC").filter(|time| is_meant && *time > 0);
        match connect(&address) {
            Ok(socket) => Some(Self {
                socket,
                patience: patience.map(Duration::from_micros),
                complaint: Mutex::default(),
            }),
            Err(error) => {
                tracing::warn!(%error, ?address, "the service manager cannot be reached");
                None
            }
        }
    }

    /// Tells that the server is up, what its models do whenever that changes, and that it gets on with
    /// its work.
    pub(super) async fn follow(&self, app: &App) {
        let pause = self.patience.map_or(LOOK, |patience| LOOK.min(patience / 4));
        let (mut is_up, mut told) = (false, None);
        let mut alive: Option<Instant> = None;
        loop {
            if !is_up && app.is_up() {
                self.tell("READY=1");
                is_up = true;
            }
            let state = app.is_ready();
            if told.as_ref() != Some(&state) && !app.is_ending() {
                let said = state.as_ref().err().map_or_else(
                    || "ready".to_owned(),
                    // The reason may quote a file's text, and a line is a message of its own.
                    |reason| format!("not ready: {}", reason.replace(char::is_control, " ")),
                );
                self.tell(&format!("STATUS={said}"));
                told = Some(state);
            }
            let is_due =
                |alive: Instant, patience: Duration| alive.elapsed() + pause >= patience / 2;
            if let Some(patience) = self.patience
                && alive.is_none_or(|alive| is_due(alive, patience))
                // A run is ended when nobody waits for it any more; one that goes on nevertheless hangs.
                && !app.registry.is_stuck(2 * app.limits.answer)
            {
                self.tell("WATCHDOG=1");
                alive = Some(Instant::now());
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Tells that the server is about to end.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=answering what is under way");
    }

    fn tell(&self, what: &str) {
        let Err(error) = self.socket.send(what.as_bytes()) else { return };
        let Ok(mut complaint) = self.complaint.lock() else { return };
        if complaint.replace(error.kind()) != Some(error.kind()) {
            tracing::warn!(%error, "the service manager does not listen");
        }
    }
}

/// A socket at a path or, where the name begins with `@`, at a name of Linux' own.
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold the server up.
    socket.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    if let Some(name) = std::os::unix::ffi::OsStrExt::as_bytes(address).strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::SocketAddr;
        socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        return Ok(socket);
    }
    socket.connect(address)?;
    Ok(socket)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    use super::*;

    #[test]
    fn paths_and_abstract_names_are_reached() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let name = format!("rift-{}", std::process::id());
        let at_path = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let at_name = UnixDatagram::bind_addr(&address).unwrap();
        for (socket, address) in
            [(at_path, path.into_os_string()), (at_name, format!("@{name}").into())]
        {
            connect(&address).unwrap().send(b"READY=1").unwrap();
            let mut message = [0; 16];
            assert_eq!(socket.recv(&mut message).unwrap(), 7);
            assert_eq!(&message[..7], b"READY=1");
        }
        assert!(connect(OsStr::new("/nowhere/socket")).is_err());
    }
}
