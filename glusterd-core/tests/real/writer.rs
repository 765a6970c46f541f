//! A client that writes and reads without a pause, and remembers every error and the longest wait.

use std::process::Child;
use std::time::Duration;

use super::sandbox::Sandbox;

/// Until `/run/io.stop` exists. `/run/io.count` holds the number of rounds and the longest of them in
/// microseconds.
const LOOP: &str = r#"
n=0; longest=0; : > /run/io.errors
while [ ! -e /run/io.stop ]; do
  n=$((n + 1)); file=/mnt/m/f$((n % 40)); begin=${EPOCHREALTIME/./}
  echo "round $n" > $file 2>> /run/io.errors || echo "write $n" >> /run/io.errors
  [ "$(cat $file 2>> /run/io.errors)" = "round $n" ] || echo "read $n" >> /run/io.errors
  took=$((${EPOCHREALTIME/./} - begin)); [ $took -gt $longest ] && longest=$took
  echo "$n $longest" > /run/io.new; mv /run/io.new /run/io.count
  sleep 0.01
done
"#;

pub struct Writer(Child);

impl Writer {
    /// Begins on the file system at `/mnt/m`; returns once it writes.
    pub fn begin(client: &Sandbox) -> Writer {
        client.sh("rm -f /run/io.*");
        // The time limit of one command does not fit this one.
        let child = client.spawn(&format!("exec setsid bash -c '{LOOP}' &"));
        client.until("the first rounds", Duration::from_secs(30), |client| {
            client.path("/run/io.count").exists()
        });
        Writer(child)
    }

    /// Rounds so far, and the longest of them.
    pub fn rounds(client: &Sandbox) -> (u64, Duration) {
        let text = client.read("/run/io.count");
        let mut numbers = text.split_whitespace().map(|word| word.parse().unwrap());
        (numbers.next().unwrap(), Duration::from_micros(numbers.next().unwrap()))
    }

    /// What went wrong so far.
    pub fn errors(client: &Sandbox) -> String {
        client.read("/run/io.errors")
    }

    /// Ends it after a further round; returns rounds and the longest. No round may have failed.
    pub fn end(mut self, client: &Sandbox) -> (u64, Duration) {
        let (count, _) = Writer::rounds(client);
        client.until("writing goes on", Duration::from_secs(60), |client| {
            Writer::rounds(client).0 > count
        });
        client.sh("touch /run/io.stop");
        let _ = self.0.wait();
        let errors = Writer::errors(client);
        assert!(errors.is_empty(), "{errors}");
        Writer::rounds(client)
    }
}
