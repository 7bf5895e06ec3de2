//! sqlite3, in each of its journal modes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::case::{Env, Failure, Outcome, check, equal, fed};

const WRITERS: usize = 4;
const INSERTS: usize = 40;

/// sqlite3 on a database, which stops at the first error.
fn sqlite(env: &Env, database: &Path) -> Command {
    let mut sqlite = env.program("sqlite3");
    sqlite.args(["-batch", "-bail", "-init", "/dev/null"]).arg(database);
    sqlite
}

fn query(env: &Env, database: &Path, statements: &str) -> Outcome<String> {
    fed(&mut sqlite(env, database), &format!(".timeout 20000\n{statements}\n"))
}

/// Sets the mode, which must be what it is then.
fn set_mode(env: &Env, database: &Path, mode: &str) -> Outcome {
    equal("journal_mode", query(env, database, &format!("pragma journal_mode={mode};"))?.as_str(), mode)
}

fn intact(env: &Env, database: &Path) -> Outcome {
    equal("integrity_check", query(env, database, "pragma integrity_check;")?.as_str(), "ok")
}

/// Writes alone, then several at once, here and on the tmpfs: the same must be there.
pub(super) fn work(env: &Env, mode: &str) -> Outcome {
    let here = all_work(env, &env.dir.join("db"), mode)?;
    let there = all_work(env, &env.scratch.join("db"), mode)?;
    check(here == there, || format!("it holds otherwise than on a tmpfs; here:\n{}", last_lines(&here)))
}

fn all_work(env: &Env, database: &Path, mode: &str) -> Outcome<String> {
    set_mode(env, database, mode)?;
    let set = format!("pragma journal_mode={mode};");
    query(
        env,
        database,
        &format!(
            "{set}
            create table t(a integer primary key, b text);
            create table w(writer, n);
            with recursive c(x) as (values(1) union all select x+1 from c where x<20000)
                insert into t select x, hex(x * 7919) || substr('abcdefghijklmnopqrstuvwxyz', x % 26 + 1) from c;
            create index i on t(b);
            delete from t where a % 3 = 0;
            update t set b = b || a where a % 5 = 0;
            vacuum;"
        ),
    )?;
    intact(env, database)?;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let mut child = sqlite(env, database).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut script = format!(".timeout 30000\n{set}\n");
        for n in 0..INSERTS {
            script += &format!("begin immediate; insert into w values({writer}, {n});\n");
            script += &format!("update t set b = b || '.' where a = {}; commit;\n", n * 3 + 1);
        }
        child.stdin.take().expect("it is piped").write_all(script.as_bytes())?;
        writers.push(child);
    }
    for mut writer in writers {
        let status = writer.wait()?;
        check(status.success(), || format!("a writer ended with {status}"))?;
    }
    intact(env, database)?;
    query(
        env,
        database,
        "select writer, count(*), sum(n) from w group by writer order by writer;\nselect * from t;",
    )
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(3)..].join("\n")
}

/// Reads and writes through a mapping of the file.
pub(super) fn mapped(env: &Env) -> Outcome {
    let work = |database: &Path| -> Outcome<String> {
        let told = query(
            env,
            database,
            "pragma mmap_size=268435456;
            create table t(a, b);
            with recursive c(x) as (values(1) union all select x+1 from c where x<20000)
                insert into t select x, zeroblob(100) from c;
            update t set b = hex(a) || b where a % 7 = 0;
            select sum(length(b)), count(*) from t;",
        )?;
        intact(env, database)?;
        Ok(told)
    };
    equal("what is there", work(&env.dir.join("db"))?, work(&env.scratch.join("db"))?)
}

/// Kills a writer while it writes and another goes on. What it was told to be written is there, all of a transaction
/// or nothing, and the other has not noticed.
pub(super) fn kill(env: &Env, mode: &str) -> Outcome {
    const ROWS: usize = 10;
    let database = env.dir.join("db");
    set_mode(env, &database, mode)?;
    query(env, &database, "create table v(round, n); create table other(n);")?;
    for (round, deadline) in [7, 25, 60].into_iter().enumerate() {
        let mut victim = sqlite(env, &database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut script = format!(".timeout 20000\npragma journal_mode={mode};\n");
        for n in 0..2000 {
            script += "begin immediate;\n";
            script += &format!("insert into v values({round}, {n});\n").repeat(ROWS);
            script += &format!("commit; select 'done', {n};\n");
        }
        let mut input = victim.stdin.take().expect("it is piped");
        let feeder = std::thread::spawn(move || input.write_all(script.as_bytes()));
        let mut bystander = sqlite(env, &database).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let inserts = "insert into other values(1);\n".repeat(INSERTS);
        let script = format!(".timeout 20000\npragma journal_mode={mode};\n{inserts}");
        bystander.stdin.take().expect("it is piped").write_all(script.as_bytes())?;

        let out = BufReader::new(victim.stdout.take().expect("it is piped"));
        let done =
            out.lines().map_while(Result::ok).filter(|line| line.starts_with("done")).take(deadline).count();
        victim.kill()?;
        victim.wait()?;
        let _ = feeder.join();
        println!("killed after {done} transactions");
        equal("transactions before the kill", done, deadline)?;
        let status = bystander.wait()?;
        check(status.success(), || format!("the other writer ended with {status}"))?;
        intact(env, &database)?;
        let rows = query(env, &database, &format!("select count(*) from v where round = {round};"))?;
        let rows: usize = rows.parse().map_err(|_| Failure::Failed(format!("not a number: {rows}")))?;
        check(rows.is_multiple_of(ROWS), || format!("a transaction is there in part: {rows} rows"))?;
        check(rows / ROWS >= done, || format!("{done} transactions were done, {} are there", rows / ROWS))?;
    }
    equal(
        "rows of the other",
        query(env, &database, "select count(*) from other;")?,
        (3 * INSERTS).to_string(),
    )
}
