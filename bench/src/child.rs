//! Processes that this one starts, and that end with it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::Error;

/// A server in a process of its own; it ends when its standard input does.
pub struct Server(Child);

impl Server {
    /// This program again, with other arguments.
    pub fn again(arguments: &[&str]) -> Result<Self, Error> {
        let child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self(child))
    }

    /// The one line that it says when it is ready.
    pub fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().ok_or("said already")?).read_line(&mut line)?;
        Ok(line)
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Lets it end in good order.
    pub fn close(mut self) -> Result<(), Error> {
        drop(self.0.stdin.take());
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Resolves when the parent lets go.
pub async fn until_let_go() {
    let wait = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        while std::io::stdin().read_line(&mut line).is_ok_and(|n| n > 0) {}
    });
    let _ = wait.await;
}
