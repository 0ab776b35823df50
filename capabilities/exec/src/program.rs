//! A program that was opened and looked at: what runs, whether only root can change it, and why it asks.

use std::io;
use std::os::fd::OwnedFd;

use llm_os_core::error::excerpt;
use llm_os_core::path::{WirePath, spell};

use llm_os_core::{Effect, Fact, Fault, Identity, Kind, Resource, Verb};
use rustix::fs::{FileType, StatVfsMountFlags};

use crate::image::{self, Cache, Content, HEAD};
use crate::walk::{self, Found};
use crate::{EXEC_FAILED, interpreters, sandbox};

/// A program's file, opened once: it is what is judged and what runs.
pub(crate) struct Program {
    file: OwnedFd,
    real: Vec<u8>,
    sha256: String,
    identity: Identity,
    trusted: bool,
    asks: Vec<String>,
}

/// What an absolute path names: a program, or a script with the program that it names.
pub(crate) enum Runnable {
    /// A file that the kernel runs.
    Binary(Program),
    /// A file that an interpreter runs, which the host starts itself.
    Script {
        /// The script.
        script: Program,
        /// Its interpreter.
        interpreter: Program,
        /// The interpreter's path as the script spells it.
        named: String,
        /// The one argument that the script gives its interpreter.
        argument: Option<String>,
    },
}

impl Runnable {
    /// Opens what `path` names. Faults are about the path; the caller adds where it stood.
    pub(crate) fn open(path: &str, cache: &Cache) -> Result<Self, Fault> {
        let (mut script, head) = Program::open(path, cache)?;
        let Some(line) = Shebang::parse(&head, path)? else { return Ok(Self::Binary(script)) };
        let Shebang { interpreter: named, argument } = line;
        let of_script = |fault: Fault| {
            let message = format!("the script \"{}\" cannot run: {}", excerpt(path), fault.message);
            Fault { message: message.into(), ..fault }
        };
        let (mut interpreter, head) = Program::open(&named, cache).map_err(of_script)?;
        if Shebang::parse(&head, &named).map_err(of_script)?.is_some() {
            let message = format!("its interpreter \"{}\" is a script as well", excerpt(&named));
            return Err(of_script(Fault::new(EXEC_FAILED, message)));
        }
        script.asks.push("it is a script".to_owned());
        interpreter.asks.push("it runs what a script says".to_owned());
        Ok(Self::Script { script, interpreter, named, argument })
    }
}

impl Program {
    fn open(path: &str, cache: &Cache) -> Result<(Self, Vec<u8>), Fault> {
        let Found { file, real, stat, trusted } = walk::walk(path.as_bytes())?;
        let shown = excerpt(path);
        let refused = |why: &str| Fault::new(EXEC_FAILED, format!("\"{shown}\" cannot run: {why}"));
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(refused("it is a directory")),
            _ => return Err(refused("it is no regular file")),
        }
        if stat.st_mode & 0o111 == 0 {
            return Err(refused("it is not executable (chmod +x)"));
        }
        let mount = rustix::fs::fstatvfs(&file).map_err(|e| refused(&e.to_string()))?;
        if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
            return Err(refused("its file system is mounted noexec"));
        }
        let read = if trusted { cache.read(&file, &stat) } else { image::read_whole(&file) };
        let Content { sha256, head, capabilities } =
            read.map_err(|e| refused(&format!("reading it failed: {e}")))?;
        if !head.starts_with(b"\x7fELF") && !head.starts_with(b"#!") {
            return Err(refused("it is neither an ELF program nor a script that starts with \"#!\""));
        }
        let mut asks = Vec::new();
        if !trusted {
            asks.push("others than root can change its file or a directory of its path".to_owned());
        }
        let names = [file_name(&real), file_name(path.as_bytes())];
        asks.extend(names.iter().find_map(|name| interpreters::asks(name)).map(str::to_owned));
        if stat.st_mode & 0o6000 != 0 || capabilities {
            asks.push(
                "its file is marked to run with the rights of another (it is started without them)"
                    .to_owned(),
            );
        }
        let identity = Identity::new(format!("{}:{}:{sha256}", stat.st_dev, stat.st_ino));
        Ok((Self { file, real, sha256, identity, trusted, asks }, head))
    }

    /// What runs: the file itself where only root can change it and every program may run it, else a sealed copy of what
    /// was judged, which a sandbox need not know.
    ///
    /// # Errors
    ///
    /// A file that holds something else by now.
    pub(crate) fn image(&self) -> io::Result<OwnedFd> {
        if self.trusted && sandbox::system_holds(&self.real) {
            return self.file.try_clone();
        }
        let (copy, content) = image::seal_copy(&self.file)?;
        if content.sha256 == self.sha256 {
            Ok(copy)
        } else {
            Err(io::Error::other("its file changed since it was judged; send the plan anew"))
        }
    }

    /// The path of the file, for messages and for arguments.
    pub(crate) fn path(&self) -> String {
        spell(&self.real)
    }

    /// One more reason to ask.
    pub(crate) fn ask(&mut self, why: String) {
        self.asks.push(why);
    }

    /// The effect of starting it with `argv` in `cwd`.
    pub(crate) fn run(&self, argv: &[String], cwd: &str) -> Effect {
        let (argv0, args) = argv.split_first().expect("argv was validated");
        let subcommand = args.first().filter(|arg| !arg.starts_with('-'));
        let (options, operands): (Vec<_>, Vec<_>) =
            args.iter().skip(subcommand.iter().len()).cloned().partition(|arg| arg.starts_with('-'));
        let effect = Effect::new(Verb::Run, Resource::program(&self.real), self.identity.clone())
            .fact("subcommand", Fact::Text(subcommand.cloned().unwrap_or_default()))
            .fact("options", Fact::Set(options.into_iter().collect()))
            .fact("operands", Fact::Set(operands.into_iter().collect()))
            .fact("argc", Fact::Long(i64::try_from(argv.len()).unwrap_or(i64::MAX)))
            .fact("sha256", Fact::Text(self.sha256.clone()))
            .fact("cwd", Fact::Text(cwd.to_owned()))
            .fact("argv0", Fact::Text(argv0.clone()))
            .fact("trusted", Fact::Bool(self.trusted));
        if self.asks.is_empty() { effect } else { effect.asks(self.asks.join("; ")) }
    }
}

/// Why a program always asks, by what its path names now; by its name alone where nothing can run there.
pub(crate) fn always_asks(resource: &Resource) -> Option<String> {
    if resource.kind != Kind::Program {
        return None;
    }
    let path = WirePath::new(&*resource.id).bytes("").ok()?;
    let asks = std::str::from_utf8(&path).ok().and_then(|path| Runnable::open(path, &Cache::default()).ok());
    match asks {
        Some(
            Runnable::Binary(Program { asks, .. }) | Runnable::Script { script: Program { asks, .. }, .. },
        ) => (!asks.is_empty()).then(|| asks.join("; ")),
        None => interpreters::asks(&file_name(&path)).map(str::to_owned),
    }
}

fn file_name(path: &[u8]) -> String {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    String::from_utf8_lossy(name).into_owned()
}

/// The first line of a script (execve(2), "Interpreter scripts").
struct Shebang {
    interpreter: String,
    argument: Option<String>,
}

impl Shebang {
    fn parse(head: &[u8], path: &str) -> Result<Option<Self>, Fault> {
        let Some(rest) = head.strip_prefix(b"#!") else { return Ok(None) };
        let refused =
            |why: &str| Fault::new(EXEC_FAILED, format!("the first line of \"{}\" {why}", excerpt(path)));
        let line = match rest.iter().position(|b| *b == b'\n') {
            Some(end) => &rest[..end],
            None if head.len() < HEAD => rest,
            None => return Err(refused("is longer than 255 bytes")),
        };
        let line = std::str::from_utf8(line).map_err(|_| refused("is not UTF-8"))?.trim_matches([' ', '\t']);
        let (interpreter, argument) = match line.split_once([' ', '\t']) {
            Some((interpreter, argument)) => {
                (interpreter, Some(argument.trim_start_matches([' ', '\t']).to_owned()))
            }
            None => (line, None),
        };
        if !interpreter.starts_with('/') || line.contains('\0') {
            return Err(refused("does not name its interpreter by an absolute path"));
        }
        Ok(Some(Self { interpreter: interpreter.to_owned(), argument }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_line(text: &str) -> Result<Option<(String, Option<String>)>, String> {
        let line = Shebang::parse(text.as_bytes(), "/s").map_err(|fault| fault.message.into_owned());
        line.map(|line| line.map(|line| (line.interpreter, line.argument)))
    }

    #[test]
    fn the_first_line_of_a_script_is_read_as_the_kernel_reads_it() {
        let line = |interpreter: &str, argument: Option<&str>| {
            Ok(Some((interpreter.to_owned(), argument.map(str::to_owned))))
        };
        assert_eq!(first_line("#!/bin/sh\nx"), line("/bin/sh", None));
        assert_eq!(first_line("#! /bin/sh -e -u \nx"), line("/bin/sh", Some("-e -u")));
        assert_eq!(first_line("#!/bin/sh"), line("/bin/sh", None));
        assert_eq!(first_line("echo"), Ok(None));
    }

    #[test]
    fn a_first_line_that_is_cut_or_relative_is_refused() {
        for text in [&*format!("#!/{}\n", "x".repeat(300)), "#!sh\n", "#!\n", "#!/bin/sh\0x\n"] {
            let cut = &text[..text.len().min(HEAD)];
            assert!(first_line(cut).unwrap_err().starts_with("the first line of \"/s\" "), "{text:?}");
        }
    }
}
