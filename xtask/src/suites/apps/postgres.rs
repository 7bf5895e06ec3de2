//! PostgreSQL, if it is there.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::super::case::{Env, Failure, Outcome, check, must, output, status};
use super::super::tools::postgres_program;

/// It will not run as root.
const USER: &str = "postgres";

/// The money in each of the tables of pgbench, and how much of it was moved.
const SUMS: &str = "select (select sum(abalance) from pgbench_accounts), (select sum(bbalance) from pgbench_branches), \
                    (select sum(tbalance) from pgbench_tellers), (select sum(delta) from pgbench_history)";

/// A server whose data and socket are on the filesystem under test. Should a case fail before it is stopped, it ends
/// with all that the case left running.
struct Postgres<'a> {
    env: &'a Env,
    data: PathBuf,
}

impl Postgres<'_> {
    fn program(&self, name: &str, args: &[&str]) -> Outcome<Command> {
        let program = postgres_program(name).ok_or_else(|| {
            Failure::Skipped(format!("{name} is not installed: `conformance --postgres` does it"))
        })?;
        let mut command = self.env.program("runuser");
        command.args(["-u", USER, "--"]).arg(program).args(args).current_dir(&self.data);
        command.env("PGDATA", &self.data).env("PGHOST", &self.data).env("PGDATABASE", "postgres");
        Ok(command)
    }

    fn start(&self) -> Outcome {
        let sockets = format!("-c listen_addresses= -c unix_socket_directories={}", self.data.display());
        let start = ["--wait", "--timeout=60", "--log=log", "--options", &sockets, "start"];
        // Processes of one that was killed may still be ending.
        for _ in 0..20 {
            if status(&mut self.program("pg_ctl", &start)?)?.success() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(500));
        }
        println!("{}", fs::read_to_string(self.data.join("log"))?);
        Err("PostgreSQL does not start".into())
    }

    /// All tables must agree on how much was moved.
    fn agree(&self) -> Outcome {
        let sums = output(&mut self.program("psql", &["-AtX", "-c", SUMS])?)?;
        let (first, rest) = sums.split_once('|').ok_or("psql printed no sums")?;
        check(rest.split('|').all(|sum| sum == first), || format!("the tables disagree: {sums}"))
    }

    /// The server's own id, from the file that it keeps.
    fn kill(&self) -> Outcome {
        let file = fs::read_to_string(self.data.join("postmaster.pid"))?;
        let id = file.lines().next().and_then(|line| line.parse().ok()).and_then(Pid::from_raw);
        Ok(kill_process(id.ok_or("there is no id in postmaster.pid")?, Signal::KILL)?)
    }
}

/// Makes a database, works on it with several clients, kills the server meanwhile, recovers, checks.
pub(super) fn bench(env: &Env) -> Outcome {
    let postgres = Postgres { env, data: env.dir.join("data") };
    // Before anything is made: it may not be installed.
    let mut initdb = postgres
        .program("initdb", &["--no-locale", "--encoding=UTF8", "--auth=trust", "--data-checksums"])?;
    fs::create_dir(&postgres.data)?;
    let id =
        |flag| -> Outcome<Option<u32>> { Ok(output(env.program("id").args([flag, USER]))?.parse().ok()) };
    chown(&postgres.data, id("-u")?, id("-g")?)?;
    must(&mut initdb)?;
    postgres.start()?;
    must(&mut postgres.program("pgbench", &["--initialize", "--quiet", "--scale=2"])?)?;
    let seconds = env.scale.pick("2", "5", "30");
    let clients = ["--no-vacuum", "--client=4", "--jobs=2", "--time", seconds];
    must(&mut postgres.program("pgbench", &clients)?)?;
    postgres.agree()?;
    let before = count(&postgres)?;

    let mut working = postgres.program("pgbench", &["--no-vacuum", "--client=4", "--time=60"])?.spawn()?;
    thread::sleep(Duration::from_secs(1));
    postgres.kill()?;
    let ended = working.wait()?;
    check(!ended.success(), || "pgbench did not notice that the server was killed".to_owned())?;
    postgres.start()?;
    postgres.agree()?;
    let after = count(&postgres)?;
    check(after > before, || format!("{after} transfers after the kill, {before} before it"))?;
    must(
        &mut postgres
            .program("psql", &["-AtX", "-c", "vacuum full analyze", "-c", "reindex database postgres"])?,
    )?;
    postgres.agree()?;
    must(&mut postgres.program("pg_ctl", &["--wait", "--mode=fast", "stop"])?)?;
    let checked = output(&mut postgres.program("pg_checksums", &["--check"])?)?;
    check(checked.contains("Bad checksums:  0\n"), || format!("pages with wrong checksums: {checked}"))
}

fn count(postgres: &Postgres<'_>) -> Outcome<usize> {
    let rows =
        output(&mut postgres.program("psql", &["-AtX", "-c", "select count(*) from pgbench_history"])?)?;
    rows.parse().map_err(|_| Failure::Failed(format!("not a number: {rows}")))
}
