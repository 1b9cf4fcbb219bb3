//! The source that reads a folder of Kubernetes manifests.
//!
//! The source reads every `*.yaml`, `*.yml` and `*.json` file that is not hidden, in the
//! order of their names, and again after each change. It follows symbolic links, so that
//! a mounted `ConfigMap` works, whose files all change at once.
//!
//! Problems are reported and never end the source. A document that does not decode
//! affects only its own object. A file that is not valid YAML, as in the middle of an
//! edit, keeps the objects that it had before. An object in two files is taken from the
//! later file.
//!
//! A name may lead to anything, such as a pipe without a writer or a device without an end.
//! So only regular files of at most `FILE_MAX` bytes are read. The module `document` bounds
//! the memory that a file's text takes.

mod document;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::task::{self, JoinError};
use tokio::time::{self, Instant};

use super::{Batch, Event, Keep, Kind, Object, ObjectRef, Problem, Problems, Reason, Report};

/// Time without a change after which the folder is read.
const QUIET: Duration = Duration::from_millis(5);

/// Longest time that further changes may put off the reading.
const HELD_BACK_MAX: Duration = Duration::from_millis(100);

/// The most bytes of a file: ten objects of the largest size that an API server stores, which
/// is etcd's limit for a request, 1.5 MiB.
const FILE_MAX: u64 = 16 << 20;

/// Why the source ends.
#[derive(Debug, thiserror::Error)]
pub enum ManifestsError {
    /// The folder itself cannot be read.
    #[error("cannot read folder {}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The kernel refuses to report changes in the folder.
    #[error("cannot watch folder {}", .path.display())]
    Watch {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: notify::Error,
    },
    /// The task that reads the folder panicked, or the runtime stopped.
    #[error("reading the manifests was cut short")]
    Interrupted(#[from] JoinError),
}

/// Reads the folder once. The batch holds every object, the end of each kind's list, and
/// every problem.
pub fn load(folder: &Path, keep: Keep) -> Result<Batch, ManifestsError> {
    Folder::new(folder, keep).first()
}

/// Reads the folder, then again after each change, until the receiver of the batches is
/// dropped. The first batch ends the list of every kind.
pub async fn watch_manifests(
    folder: PathBuf,
    keep: Keep,
    batches: mpsc::Sender<Batch>,
) -> Result<(), ManifestsError> {
    // One message is enough, because every reading covers the whole folder.
    let (wake, mut woken) = mpsc::channel(1);
    let notified = move |event: notify::Result<notify::Event>| {
        if event.is_err() || event.is_ok_and(|event| is_change(event.kind)) {
            // Errors do not matter: a full channel means that a reading is due, a closed
            // channel that the source has ended.
            wake.try_send(()).unwrap_or_default();
        }
    };
    let failed = |source| ManifestsError::Watch {
        path: folder.clone(),
        source,
    };
    // The watch begins before the first reading, so that no change is missed.
    let mut watcher = notify::recommended_watcher(notified).map_err(failed)?;
    watcher
        .watch(&folder, RecursiveMode::NonRecursive)
        .map_err(failed)?;
    let mut manifests = Folder::new(&folder, keep);
    let mut read: fn(&mut Folder) -> Result<Batch, ManifestsError> = Folder::first;
    loop {
        let result;
        (manifests, result) = task::spawn_blocking(move || {
            let result = read(&mut manifests);
            (manifests, result)
        })
        .await?;
        let batch = result?;
        if !batch.is_empty() && batches.send(batch).await.is_err() {
            return Ok(());
        }
        read = Folder::refresh;
        tokio::select! {
            () = batches.closed() => return Ok(()),
            _ = woken.recv() => {}
        }
        let latest = Instant::now() + HELD_BACK_MAX;
        while Instant::now() < latest && time::timeout(QUIET, woken.recv()).await.is_ok() {}
    }
}

/// Whether a reading after this event may find something new. A write counts when the
/// file is closed. Reading does not count, since the source itself reads.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(ModifyKind::Any | ModifyKind::Name(_) | ModifyKind::Metadata(_))
        | EventKind::Remove(_)
        | EventKind::Other => true,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Other) => false,
    }
}

/// The content of a regular file of at most [`FILE_MAX`] bytes.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let refuse = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    let not_regular = || refuse("not a regular file".to_owned());
    // Asked first, because to open a device may already do something.
    if !fs::metadata(path)?.is_file() {
        return Err(not_regular());
    }
    // The file may be another one by now: to open a pipe must not wait for its writer.
    let mut options = fs::OpenOptions::new();
    let options = options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(not_regular());
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(refuse(format!("more than {} MiB", FILE_MAX >> 20)));
    }
    Ok(bytes)
}

/// A report that takes back all problems of `about`.
fn solved(about: &str) -> Report {
    Report {
        about: about.to_owned(),
        problems: Problems::default(),
    }
}

/// The folder as it was last read.
struct Folder {
    path: PathBuf,
    keep: Keep,
    files: BTreeMap<String, File>,
    /// Every object of the last batches.
    objects: HashMap<ObjectRef, Arc<Object>>,
    /// Problems of objects that are in more than one file, as already reported.
    duplicates: HashSet<Problem>,
}

/// A file with the objects of its last valid content.
#[derive(Default)]
struct File {
    /// A hash of the file's bytes when it was last read. `None` where it could not be read.
    hash: Option<u64>,
    objects: Vec<Arc<Object>>,
}

impl Folder {
    fn new(path: &Path, keep: Keep) -> Self {
        Self {
            path: path.to_owned(),
            keep,
            files: BTreeMap::new(),
            objects: HashMap::new(),
            duplicates: HashSet::new(),
        }
    }

    /// Reads the folder for the first time and ends the list of every kind.
    fn first(&mut self) -> Result<Batch, ManifestsError> {
        let mut batch = self.refresh()?;
        batch.events.extend(Kind::ALL.map(Event::Restarted));
        Ok(batch)
    }

    /// Reads the folder and returns the changes since the last reading.
    fn refresh(&mut self) -> Result<Batch, ManifestsError> {
        let mut reports = Vec::new();
        let names = self.file_names().map_err(|source| ManifestsError::Folder {
            path: self.path.clone(),
            source,
        })?;
        self.files.retain(|name, _| {
            let stays = names.contains(name);
            if !stays {
                reports.push(solved(name));
            }
            stays
        });
        for name in names {
            reports.extend(self.read(&name));
        }
        let (objects, duplicates) = self.merged();
        let settled = self.duplicates.difference(&duplicates);
        reports.extend(settled.map(|problem| solved(&problem.object)));
        let new = duplicates.difference(&self.duplicates);
        reports.extend(new.map(|problem| Report {
            about: problem.object.clone(),
            problems: problem.clone().into(),
        }));
        self.duplicates = duplicates;
        let mut events = Vec::new();
        for (reference, object) in &objects {
            if self.objects.get(reference) != Some(object) {
                events.push(Event::Apply(Object::clone(object)));
            }
        }
        for reference in self.objects.keys() {
            if !objects.contains_key(reference) {
                events.push(Event::Delete(reference.clone()));
            }
        }
        self.objects = objects;
        Ok(Batch {
            events,
            reports,
            arrived: None,
            ..Batch::default()
        })
    }

    /// The names of the files to read, sorted.
    fn file_names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let Ok(name) = entry?.file_name().into_string() else {
                continue;
            };
            let path = Path::new(&name);
            let wanted = path
                .extension()
                .is_some_and(|kind| kind == "yaml" || kind == "yml" || kind == "json");
            if wanted && !name.starts_with('.') && !self.path.join(path).is_dir() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Reads a file and returns a report of all its problems. `None` where the file has not
    /// changed.
    fn read(&mut self, name: &str) -> Option<Report> {
        let report = |problems| {
            Some(Report {
                about: name.to_owned(),
                problems,
            })
        };
        let of_file = |reason| {
            report(Problems::from(Problem {
                object: name.to_owned(),
                field: String::new(),
                reason,
            }))
        };
        let bytes = match read_file(&self.path.join(name)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.files.remove(name).map(|_| solved(name));
            }
            Err(error) => {
                self.files.entry(name.to_owned()).or_default().hash = None;
                return of_file(Reason::Unreadable(error.to_string().into()));
            }
        };
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let hash = Some(hasher.finish());
        let file = self.files.entry(name.to_owned()).or_default();
        if file.hash == hash {
            return None;
        }
        file.hash = hash;
        let text = match str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => return of_file(Reason::Syntax(error.to_string().into())),
        };
        let documents = document::read(name, text, &self.keep);
        if !documents.broken || file.objects.is_empty() {
            file.objects = documents.objects.into_iter().map(Arc::new).collect();
        }
        report(documents.problems)
    }

    /// The objects of all files, and a problem for each object that a later file or
    /// document replaces.
    fn merged(&self) -> (HashMap<ObjectRef, Arc<Object>>, HashSet<Problem>) {
        let mut objects = HashMap::new();
        let mut from = HashMap::<ObjectRef, &str>::new();
        let mut duplicates = HashSet::new();
        for (name, file) in &self.files {
            for object in &file.objects {
                let reference = object.reference();
                if let Some(earlier) = from.insert(reference.clone(), name) {
                    duplicates.insert(Problem {
                        object: format!("{name}: {reference}"),
                        field: String::new(),
                        reason: Reason::DuplicateObject(earlier.into()),
                    });
                }
                objects.insert(reference, Arc::clone(object));
            }
        }
        (objects, duplicates)
    }
}

#[cfg(test)]
mod tests;
