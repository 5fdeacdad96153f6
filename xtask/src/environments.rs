//! The clients: Python environments, npm packages, and the program that wraps hf-hub.
//!
//! Python environments are large and the same for every checkout, so they live outside of it, in `$WH_TEST_CACHE`
//! or `~/.cache/weighthouse-test`, in folders named by a hash of what they are made from. A finished one holds the
//! file `complete`; one without it is made anew.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::{apt, shell};

/// Releases of huggingface_hub; each is installed with the hf-xet of its lock file, and once more without.
const HUBS: [&str; 4] = ["hub-2.4", "hub-1.33", "hub-1.10", "hub-0.36"];

/// Name of a client, and the program that runs its driver.
pub type Programs = BTreeMap<String, PathBuf>;

/// An environment to be made: its folder is `name` and a hash of the rest.
struct Environment {
    name: String,
    requirements: String,
    /// A script to run in the finished environment.
    epilogue: Option<PathBuf>,
    /// Whether what the packages need is installed too; else the list has everything.
    dependencies: bool,
}

/// Python environments of the matrix.
pub fn hubs() -> Result<Programs> {
    let mut wanted = Vec::new();
    for name in HUBS {
        let requirements = requirements(name)?;
        let plain = requirements.lines().filter(|line| !line.starts_with("hf-xet")).map(|line| format!("{line}\n"));
        wanted.push(Environment {
            name: format!("{name}-plain"),
            requirements: plain.collect(),
            epilogue: None,
            dependencies: false,
        });
        wanted.push(Environment { name: name.to_owned(), requirements, epilogue: None, dependencies: false });
    }
    make(&wanted)
}

/// The environment with torch and the libraries that write models.
pub fn models() -> Result<Programs> {
    let epilogue = Some(tests().join("python/cpu_torch.py"));
    make(&[Environment {
        name: "models".to_owned(),
        requirements: requirements("models")?,
        epilogue,
        dependencies: false,
    }])
}

/// The newest client with hf-xet, and numpy to make weights with, for benchmarks.
pub fn bench() -> Result<PathBuf> {
    let requirements = requirements(HUBS[0])? + "numpy==2.4.6\n";
    let made = make(&[Environment { name: "bench".to_owned(), requirements, epilogue: None, dependencies: false }])?;
    made.into_values().next().context("no environment for benchmarks")
}

/// DVC, which stored sizes are measured beside.
pub fn dvc() -> Result<PathBuf> {
    let requirements = "dvc==3.67.1\n".to_owned();
    let made = make(&[Environment { name: "dvc".to_owned(), requirements, epilogue: None, dependencies: true }])?;
    made.into_values().next().context("no environment for DVC")
}

/// What readers are measured beside: numpy and picklescan.
pub fn readers() -> Result<PathBuf> {
    let requirements = "numpy==2.4.6\npicklescan==1.0.5\n".to_owned();
    let made = make(&[Environment { name: "readers".to_owned(), requirements, epilogue: None, dependencies: false }])?;
    made.into_values().next().context("no environment for benchmarks")
}

/// What the scanner is measured beside, each in an environment of its own, and what writes the files for them.
pub fn scanners() -> Result<Programs> {
    let peers = ["picklescan==1.0.5", "modelscan==0.8.8", "fickling==0.1.12", "modelaudit==0.2.54"];
    let environment = |pin: &&str| Environment {
        name: pin.split('=').next().unwrap_or(pin).to_owned(),
        // picklescan and fickling need these, and do not say so.
        requirements: format!("{pin}\nnumpy==2.4.6\ntyping_extensions\n"),
        epilogue: None,
        dependencies: true,
    };
    let mut made = make(&peers.iter().map(environment).collect::<Vec<_>>())?;
    made.extend(formats()?);
    Ok(made)
}

/// Where the peers of the tensor codec are installed, for a Python that has torch: `zipnn` imports it.
pub fn codecs() -> Result<PathBuf> {
    let requirements = "zipnn==0.5.4\nzstandard==0.25.0\n".to_owned();
    let made = make(&[Environment { name: "codecs".to_owned(), requirements, epilogue: None, dependencies: false }])?;
    let python = made.into_values().next().context("no environment for the codec")?;
    let paths =
        shell::read(Command::new(python).args(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]))?;
    Ok(PathBuf::from(paths.trim()))
}

/// The environments whose libraries write a checkpoint of every format: that of the models, and one with TensorFlow and JAX.
pub fn formats() -> Result<Programs> {
    let tensorflow = Environment {
        name: "formats-tf".to_owned(),
        requirements: requirements("formats-tf")?,
        epilogue: None,
        dependencies: false,
    };
    let mut made = models()?;
    made.extend(make(&[tensorflow])?);
    Ok(made)
}

/// Python with pytest, which runs all of them.
pub fn harness() -> Result<PathBuf> {
    let requirements = requirements("harness")?;
    let made = make(&[Environment { name: "harness".to_owned(), requirements, epilogue: None, dependencies: false }])?;
    made.into_values().next().context("no harness")
}

/// npm packages of `tests/js`, and the node that runs them.
pub fn js() -> Result<Programs> {
    let folder = tests().join("js");
    let lock = fs::read(folder.join("package-lock.json"))?;
    let installed = folder.join("node_modules/installed-package-lock.json");
    if fs::read(&installed).ok().as_ref() != Some(&lock) {
        shell::run(shell::command("npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder))?;
        fs::write(&installed, &lock)?;
    }
    Ok(Programs::from([("js".to_owned(), PathBuf::from("node"))]))
}

/// The driver of hf-hub, built in a workspace of its own under `target`.
pub fn hf_hub(target: &Path) -> Result<Programs> {
    let target = target.join("hf-hub");
    let mut build = shell::command("cargo", &["build", "--quiet", "--locked"]);
    shell::run(build.current_dir(tests().join("hf-hub")).env("CARGO_TARGET_DIR", &target))?;
    Ok(Programs::from([("hf-hub".to_owned(), target.join("debug/hf-hub-driver"))]))
}

/// Folder of the client tests.
pub fn tests() -> PathBuf {
    shell::root().join("tests")
}

fn requirements(name: &str) -> Result<String> {
    let path = tests().join(format!("python/requirements/{name}.txt"));
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Makes what is missing, side by side, and returns the interpreters by name.
fn make(wanted: &[Environment]) -> Result<Programs> {
    let cache = cache()?;
    let version = python()?;
    thread::scope(|scope| {
        let made: Vec<_> = wanted
            .iter()
            .map(|environment| (environment, scope.spawn(|| environment.ensure(&cache, &version))))
            .collect();
        made.into_iter()
            .map(|(environment, thread)| {
                let python = thread.join().map_err(|_| anyhow!("making `{}` panicked", environment.name))?;
                Ok((environment.name.clone(), python.with_context(|| format!("making `{}`", environment.name))?))
            })
            .collect()
    })
}

impl Environment {
    fn ensure(&self, cache: &Path, version: &str) -> Result<PathBuf> {
        let epilogue = self.epilogue.as_ref().map(fs::read).transpose()?;
        let mut hasher = DefaultHasher::new();
        (version, &self.requirements, epilogue).hash(&mut hasher);
        let folder = cache.join(format!("{}-{:016x}", self.name, hasher.finish()));
        let lock = File::create(folder.with_added_extension("lock"))?;
        lock.lock()?;
        let python = folder.join("bin/python");
        if !folder.join("complete").exists() {
            self.build(&folder, &python)?;
            File::create(folder.join("complete"))?;
        }
        Ok(python)
    }

    fn build(&self, folder: &Path, python: &Path) -> Result<()> {
        shell::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
        let list = folder.join("requirements.txt");
        fs::write(&list, &self.requirements)?;
        let mut pip = Command::new(python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        if !self.dependencies {
            pip.arg("--no-deps");
        }
        shell::run(pip.arg("--requirement").arg(list))?;
        match &self.epilogue {
            Some(script) => shell::run(Command::new(python).arg(script)),
            None => Ok(()),
        }
    }
}

fn cache() -> Result<PathBuf> {
    let cache = match std::env::var_os("WH_TEST_CACHE") {
        Some(path) => PathBuf::from(path),
        None => std::env::home_dir().context("no home directory; set WH_TEST_CACHE")?.join(".cache/weighthouse-test"),
    };
    fs::create_dir_all(&cache)?;
    Ok(cache)
}

/// Version of Python, once it can make environments.
fn python() -> Result<String> {
    let version = || shell::read(Command::new("python3").args(["-c", "import ensurepip, sys; print(sys.version)"]));
    version().or_else(|_| {
        apt::install("python3-venv", "testing with the Python clients")?;
        version()
    })
}
