//! A folder of Kubernetes YAML as the source.
//!
//! Every `*.yaml`, `*.yml` and `*.json` file that is not hidden is read, in the
//! order of the names, and read again when it changes; symbolic links are
//! followed, so that a mounted `ConfigMap` works, whose files all change at once.
//!
//! What is wrong is reported and never fatal. A document that does not decode
//! drops only what it describes. A file in which something is not YAML at all, as
//! happens in the middle of an edit, keeps the objects it had before. An object
//! in two files is taken from the later one.

mod document;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::task::{self, JoinError};
use tokio::time::{self, Instant};

use super::{Batch, Event, Keep, Kind, Object, ObjectRef, Problem, Reason, Report};

/// How long the folder must be quiet before it is read.
const QUIET: Duration = Duration::from_millis(5);

/// How long changes may be held back by more changes.
const HELD_BACK_MAX: Duration = Duration::from_millis(100);

/// Why a folder cannot be watched at all.
#[derive(Debug, thiserror::Error)]
pub enum ManifestsError {
    /// The folder itself cannot be read.
    #[error("cannot read folder {}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel does not tell of changes in the folder.
    #[error("cannot watch folder {}", .path.display())]
    Watch {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: notify::Error,
    },
    /// Reading was cut short, by a panic or the end of the program.
    #[error("reading the manifests was cut short")]
    Interrupted(#[from] JoinError),
}

/// Reads the folder once: every object, the end of each kind's list, and every
/// problem.
pub fn load(folder: &Path, keep: Keep) -> Result<Batch, ManifestsError> {
    Folder::new(folder, keep).first()
}

/// Reads the folder and then its changes, until the receiver is dropped. The
/// first batch ends the list of every kind.
pub async fn watch_manifests(
    folder: PathBuf,
    keep: Keep,
    batches: mpsc::Sender<Batch>,
) -> Result<(), ManifestsError> {
    // One waiting message says all there is to say: read again.
    let (wake, mut woken) = mpsc::channel(1);
    let notified = move |event: notify::Result<notify::Event>| {
        if event.is_err() || event.is_ok_and(|event| is_change(event.kind)) {
            // A full channel means that a reading is due anyway, a closed one
            // that nobody reads any more.
            wake.try_send(()).unwrap_or_default();
        }
    };
    let failed = |source| ManifestsError::Watch {
        path: folder.clone(),
        source,
    };
    // Before the first reading, so that nothing is missed in between.
    let mut watcher = notify::recommended_watcher(notified).map_err(failed)?;
    watcher
        .watch(&folder, RecursiveMode::NonRecursive)
        .map_err(failed)?;
    let mut state = Folder::new(&folder, keep);
    let mut read: fn(&mut Folder) -> Result<Batch, ManifestsError> = Folder::first;
    loop {
        let result;
        (state, result) = task::spawn_blocking(move || {
            let result = read(&mut state);
            (state, result)
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

/// Whether the event may have changed what a reading finds. Writing counts when
/// the file is closed; reading, which this program does itself, does not count.
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

/// Says that nothing is wrong any more.
fn settled(about: &str) -> Report {
    Report {
        about: about.to_owned(),
        problems: Vec::new(),
    }
}

/// What was last read.
struct Folder {
    path: PathBuf,
    keep: Keep,
    files: BTreeMap<String, File>,
    /// Every object as it is served, with the file it is from.
    objects: HashMap<ObjectRef, Arc<Object>>,
    /// Objects found in more than one file, as already reported.
    duplicates: HashSet<Problem>,
}

/// A file as it last made sense.
#[derive(Default)]
struct File {
    /// Of its bytes.
    hash: u64,
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

    /// The first reading, which is also a complete list of every kind.
    fn first(&mut self) -> Result<Batch, ManifestsError> {
        let mut batch = self.refresh()?;
        batch.events.extend(Kind::ALL.map(Event::Restarted));
        Ok(batch)
    }

    /// Reads again and returns what has changed since the last reading.
    fn refresh(&mut self) -> Result<Batch, ManifestsError> {
        let mut reports = Vec::new();
        let names = self.file_names().map_err(|source| ManifestsError::Folder {
            path: self.path.clone(),
            source,
        })?;
        self.files.retain(|name, _| {
            let stays = names.contains(name);
            if !stays {
                reports.push(settled(name));
            }
            stays
        });
        for name in names {
            reports.extend(self.read(&name));
        }
        let (objects, duplicates) = self.effective();
        let solved = self.duplicates.difference(&duplicates);
        reports.extend(solved.map(|problem| settled(&problem.object)));
        let new = duplicates.difference(&self.duplicates);
        reports.extend(new.map(|problem| Report {
            about: problem.object.clone(),
            problems: vec![problem.clone()],
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
        })
    }

    /// The files to read, in order.
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

    /// Reads a file, and says what is wrong with it, if it is not as before.
    fn read(&mut self, name: &str) -> Option<Report> {
        let report = |problems| {
            Some(Report {
                about: name.to_owned(),
                problems,
            })
        };
        let of_file = |reason| {
            report(vec![Problem {
                object: name.to_owned(),
                field: String::new(),
                reason,
            }])
        };
        let bytes = match fs::read(self.path.join(name)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.files.remove(name).map(|_| settled(name));
            }
            Err(error) => return of_file(Reason::Unreadable(error.to_string())),
        };
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let hash = hasher.finish();
        if self.files.get(name).is_some_and(|file| file.hash == hash) {
            return None;
        }
        let file = self.files.entry(name.to_owned()).or_default();
        file.hash = hash;
        let text = match str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => return of_file(Reason::Syntax(error.to_string())),
        };
        let documents = document::read(name, text, self.keep);
        if !documents.broken || file.objects.is_empty() {
            file.objects = documents.objects.into_iter().map(Arc::new).collect();
        }
        report(documents.problems)
    }

    /// The objects of all files, the later of two with one name, and a report
    /// on each that is hidden so.
    fn effective(&self) -> (HashMap<ObjectRef, Arc<Object>>, HashSet<Problem>) {
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
                        reason: Reason::DuplicateObject(earlier.to_owned()),
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
