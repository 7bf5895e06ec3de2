//! python3, if there is one.

use super::super::case::{Env, Outcome, equal, fed, must, output};

/// Maps files, writes by threads and processes, packs and unpacks; prints what came out.
const SCRIPT: &str = include_str!("check.py");

pub(super) fn script(env: &Env) -> Outcome {
    let run = |dir| fed(env.program("python3").current_dir(dir).arg("-"), SCRIPT);
    let here = run(&env.dir)?;
    println!("{here}");
    equal("what it prints", here, run(&env.scratch)?)
}

/// A virtual environment: links to programs, and many small files that are compiled.
pub(super) fn venv(env: &Env) -> Outcome {
    must(env.program("python3").args(["-m", "venv", "--without-pip", "venv"]))?;
    let mut python = env.program(&env.dir.join("venv/bin/python3").to_string_lossy());
    let told = output(python.args(["-c", "import json, sys; print(json.dumps(sys.prefix))"]))?;
    equal("its prefix", told, format!("{:?}", env.dir.join("venv")))?;
    must(env.program("python3").args([
        "-c",
        "import json, shutil, compileall, sys\n\
         shutil.copytree(json.__path__[0], 'json')\n\
         sys.exit(not compileall.compile_dir('json', quiet=1, force=True))",
    ]))
}
