//! Downloads at once, and recording what has come of them.

use super::{PullError, blocking};
use crate::digest::GitDigester;
use crate::limits::{PART_BYTES, RECORD_BYTES, TRY_BYTES, WRITE_BYTES};
use crate::remote::{Announced, Download, Remote, RemoteError};
use crate::store::{Blob, BlobWriter, Partial};
use crate::{FilePath, Store, StoreError};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

/// A file that is in the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetched {
    pub(super) blob: Blob,
    pub(super) lfs: bool,
}

/// Downloads under way.
pub(super) struct Transfer<'a> {
    remote: &'a Remote,
    store: &'a Store,
    connections: usize,
    progress: &'a (dyn Fn(u64, u64) + Sync),
    /// Bytes that are there.
    done: AtomicU64,
    /// Bytes that will be.
    total: u64,
    /// Bytes that came.
    downloaded: AtomicU64,
    fetched: Mutex<BTreeMap<FilePath, Fetched>>,
}

/// A file that comes in parts.
struct Active {
    download: Arc<Download>,
    partial: Arc<Partial>,
    /// Held by who writes: the system lets one at a time write to a file, and others wait for it on a processor.
    writing: tokio::sync::Mutex<()>,
    /// Whether it has come as a whole after all, because the hub does not send parts.
    whole: tokio::sync::Mutex<bool>,
}

/// What one connection does at a time.
enum Job {
    /// Gets a small file.
    Small(Arc<Download>),
    /// Gets a part of a large one. An empty one when all of it was there.
    Part(Arc<Active>, Range<u64>),
}

impl<'a> Transfer<'a> {
    /// Of files into `store`; `(done, total)` are the bytes that are there and that will be.
    pub(super) fn new(
        remote: &'a Remote,
        store: &'a Store,
        connections: usize,
        progress: &'a (dyn Fn(u64, u64) + Sync),
        (done, total): (u64, u64),
    ) -> Transfer<'a> {
        Transfer {
            remote,
            store,
            connections,
            progress,
            done: AtomicU64::new(done),
            total,
            downloaded: AtomicU64::new(0),
            fetched: Mutex::new(BTreeMap::new()),
        }
    }

    /// Downloads all, and returns what they became, with the bytes that came for it.
    pub(super) async fn run(
        self,
        downloads: Vec<Download>,
    ) -> Result<(BTreeMap<FilePath, Fetched>, u64), PullError> {
        self.add(0, 0);
        let recorder = Recorder::start();
        // small ones first: a model that cannot be had shows before its weights are there
        let (small, large): (Vec<_>, Vec<_>) =
            downloads.into_iter().map(Arc::new).partition(|download| download.file().size <= PART_BYTES);
        let jobs = stream::iter(small.into_iter().chain(large))
            .then(|download| self.jobs(download))
            .map_ok(|jobs| stream::iter(jobs.into_iter().map(Ok)))
            .try_flatten();
        let done = jobs.try_for_each_concurrent(self.connections, |job| self.do_job(&recorder, job)).await;
        // also of what has failed: it need not come again
        recorder.close().await.and(done)?;
        let fetched = self.fetched.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((fetched, self.downloaded.into_inner()))
    }

    /// What is to be done for a file.
    async fn jobs(&self, download: Arc<Download>) -> Result<Vec<Job>, PullError> {
        let file = download.file();
        let sha256 = match file.digest {
            Announced::Sha256(sha256) if file.size > PART_BYTES => sha256,
            _ => return Ok(vec![Job::Small(download)]),
        };
        let (store, wanted) = (self.store.clone(), Blob { sha256, size: file.size });
        let partial = Arc::new(blocking(move || store.partial(wanted)).await?);
        self.add(partial.finished_bytes(), 0);
        let mut parts: Vec<Range<u64>> = partial.missing().into_iter().flat_map(split).collect();
        if parts.is_empty() {
            parts.push(0..0);
        }
        let active = Arc::new(Active {
            download,
            partial,
            writing: tokio::sync::Mutex::default(),
            whole: tokio::sync::Mutex::default(),
        });
        Ok(parts.into_iter().map(|part| Job::Part(active.clone(), part)).collect())
    }

    async fn do_job(&self, recorder: &Recorder, job: Job) -> Result<(), PullError> {
        match job {
            Job::Small(download) => {
                let blob = self.small(&download).await?;
                self.note(&download, blob);
            }
            Job::Part(active, range) => {
                if !range.is_empty() {
                    self.part(recorder, &active, range).await?;
                }
                // what holds it no more than this does is the last of its parts
                if let Some(active) = Arc::into_inner(active) {
                    self.finish(recorder, active).await?;
                }
            }
        }
        Ok(())
    }

    fn note(&self, download: &Download, blob: Blob) {
        let file = download.file();
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.insert(file.path.clone(), Fetched { blob, lfs: file.lfs });
    }

    /// Counts bytes that are there, and those of them that came now.
    fn add(&self, bytes: u64, came: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.downloaded.fetch_add(came, Ordering::Relaxed);
        (self.progress)(done.min(self.total), self.total);
    }

    /// Gets a part of a file. What breaks off goes on from where it was.
    async fn part(&self, recorder: &Recorder, active: &Active, range: Range<u64>) -> Result<(), PullError> {
        let mut at = range.start;
        let (mut tries, mut from) = (1, at);
        loop {
            let error = match self.stream(recorder, active, &mut at, range.end).await {
                Ok(()) => return Ok(()),
                Err(PullError::Remote(RemoteError::NoRanges(_))) => {
                    return self.whole(recorder, active).await;
                }
                Err(PullError::Remote(error)) => error,
                Err(error) => return Err(error),
            };
            if at - from >= TRY_BYTES {
                (tries, from) = (1, at);
            }
            self.remote.wait_for_another(error, tries).await?;
            tries += 1;
        }
    }

    /// Gets all of a file at once, from a hub that does not send parts. The first of its parts does it, the others wait.
    async fn whole(&self, recorder: &Recorder, active: &Active) -> Result<(), PullError> {
        let mut done = active.whole.lock().await;
        let mut tries = 1;
        while !*done {
            match self.stream(recorder, active, &mut 0, active.download.file().size).await {
                Ok(()) => *done = true,
                Err(PullError::Remote(error)) => self.remote.wait_for_another(error, tries).await?,
                Err(error) => return Err(error),
            }
            tries += 1;
        }
        Ok(())
    }

    /// Writes what comes from `at` to `end` to its place, and moves `at` along.
    async fn stream(
        &self,
        recorder: &Recorder,
        active: &Active,
        at: &mut u64,
        end: u64,
    ) -> Result<(), PullError> {
        let mut body = self.remote.open(&active.download, *at..end).await?;
        let mut came = Came { recorder, partial: &active.partial, range: *at..*at };
        let (mut gathered, mut length) = (Vec::new(), 0);
        loop {
            let end = match body.chunk().await {
                Ok(Some(bytes)) => {
                    length += bytes.len() as u64;
                    gathered.push(bytes);
                    None
                }
                Ok(None) => Some(Ok(())),
                Err(error) => Some(Err(error.into())),
            };
            // also when it has broken off: what came need not come again
            if length >= WRITE_BYTES || (end.is_some() && length > 0) {
                let (partial, offset, pieces) = (active.partial.clone(), *at, std::mem::take(&mut gathered));
                let writing = active.writing.lock().await;
                blocking(move || write_all_at(&partial, &pieces, offset)).await?;
                drop(writing);
                *at += length;
                came.extend(*at);
                self.add(length, length);
                length = 0;
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Makes a file of which all parts are there a blob.
    async fn finish(&self, recorder: &Recorder, active: Active) -> Result<(), PullError> {
        let Active { download, partial, .. } = active;
        // afterwards the recorder holds nothing of it
        recorder.flush().await;
        let wanted = partial.wanted();
        let partial = Arc::into_inner(partial).ok_or(StoreError::Downloading(wanted.sha256))?;
        let blob = blocking(move || partial.finish()).await.map_err(|error| content(error, &download))?;
        self.note(&download, blob);
        Ok(())
    }

    /// Gets a small file.
    async fn small(&self, download: &Download) -> Result<Blob, PullError> {
        let mut tries = 1;
        loop {
            let mut came = 0;
            match self.small_once(download, &mut came).await {
                Ok(blob) => return Ok(blob),
                Err(PullError::Remote(error)) => self.remote.wait_for_another(error, tries).await?,
                Err(error) => return Err(error),
            }
            self.done.fetch_sub(came, Ordering::Relaxed);
            tries += 1;
        }
    }

    async fn small_once(&self, download: &Download, came: &mut u64) -> Result<Blob, PullError> {
        let file = download.file();
        let announced = match file.digest {
            Announced::Sha256(sha256) => Some(Blob { sha256, size: file.size }),
            Announced::Git(_) => None,
        };
        let store = self.store.clone();
        let mut writer: BlobWriter = blocking(move || store.writer(announced)).await?;
        let mut git = GitDigester::new(file.size);
        if file.size > 0 {
            let mut body = self.remote.open(download, 0..file.size).await?;
            while let Some(bytes) = body.chunk().await? {
                let length = bytes.len() as u64;
                git.update(&bytes);
                writer = blocking(move || {
                    writer.write_all(&bytes).map_err(StoreError::Content)?;
                    Ok(writer)
                })
                .await?;
                *came += length;
                self.add(length, length);
            }
        }
        let found = git.finish();
        if let Announced::Git(listed) = file.digest
            && listed != found
        {
            return Err(other_content(download, found.to_string()));
        }
        blocking(move || writer.finish()).await.map_err(|error| content(error, download))
    }
}

/// Writes pieces one after another from `offset` on.
fn write_all_at(partial: &Partial, pieces: &[Bytes], mut offset: u64) -> Result<(), StoreError> {
    pieces.iter().try_for_each(|piece| {
        partial.write_at(piece, offset)?;
        offset += piece.len() as u64;
        Ok(())
    })
}

/// Parts of a range, of which each is asked for at once.
fn split(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let Range { start, end } = range;
    let starts =
        std::iter::successors(Some(start), |at| at.checked_add(PART_BYTES)).take_while(move |&at| at < end);
    starts.map(move |at| at..at.saturating_add(PART_BYTES).min(end))
}

/// What it means that a file could not be made a blob.
fn content(error: PullError, download: &Download) -> PullError {
    match error {
        PullError::Store(StoreError::OtherDigest { found, .. }) => other_content(download, found.to_string()),
        error => error,
    }
}

fn other_content(download: &Download, found: String) -> PullError {
    let file = download.file();
    PullError::Content { url: download.shown_url(), path: file.path.clone(), listed: file.digest, found }
}

/// A range that is written as it comes; recorded also when it breaks off.
struct Came<'a> {
    recorder: &'a Recorder,
    partial: &'a Arc<Partial>,
    range: Range<u64>,
}

impl Came<'_> {
    /// It goes up to `end` now.
    fn extend(&mut self, end: u64) {
        self.range.end = end;
        if end - self.range.start >= RECORD_BYTES {
            self.send();
        }
    }

    fn send(&mut self) {
        if !self.range.is_empty() {
            self.recorder.send(Message::Work((self.partial.clone(), self.range.clone())));
            self.range.start = self.range.end;
        }
    }
}

impl Drop for Came<'_> {
    fn drop(&mut self) {
        self.send();
    }
}

/// A thread that records what was written, and one that digests what was recorded, so that neither the disk nor the digest
/// waits for the other. The first takes what has gathered while it waited for the disk together, so that a slow disk is
/// waited for less often, and downloads go on meanwhile.
struct Recorder {
    sender: mpsc::Sender<Message<Written>>,
    threads: [JoinHandle<Result<(), StoreError>>; 2],
}

/// What a thread is told.
enum Message<T> {
    /// What there is to do.
    Work(T),
    /// Somebody waits until all that was sent before is done.
    Flush(oneshot::Sender<()>),
}

/// Bytes that were written.
type Written = (Arc<Partial>, Range<u64>);

impl Recorder {
    fn start() -> Recorder {
        let (sender, written) = mpsc::channel();
        let (recorded, digested) = mpsc::channel();
        let threads =
            [spawn_blocking(move || record(&written, &recorded)), spawn_blocking(move || digest(&digested))];
        Recorder { sender, threads }
    }

    fn send(&self, message: Message<Written>) {
        // a thread that has ended says why when it is closed
        let _ = self.sender.send(message);
    }

    /// Waits until all that was sent is recorded and digested.
    async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        self.send(Message::Flush(done));
        // a thread that has ended says why when it is closed
        let _ = wait.await;
    }

    /// Records and digests what is left.
    async fn close(self) -> Result<(), PullError> {
        drop(self.sender);
        for thread in self.threads {
            match thread.await {
                Ok(result) => result?,
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            }
        }
        Ok(())
    }
}

fn record(
    receiver: &mpsc::Receiver<Message<Written>>,
    recorded: &mpsc::Sender<Message<Arc<Partial>>>,
) -> Result<(), StoreError> {
    while let Ok(first) = receiver.recv() {
        let mut written: Vec<(Arc<Partial>, Vec<Range<u64>>)> = Vec::new();
        let mut waiting = Vec::new();
        for message in std::iter::once(first).chain(receiver.try_iter()) {
            match message {
                Message::Flush(done) => waiting.push(done),
                Message::Work((partial, range)) => {
                    match written.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &partial)) {
                        Some((_, ranges)) => ranges.push(range),
                        None => written.push((partial, vec![range])),
                    }
                }
            }
        }
        // a thread that has ended says why when it is closed
        let tell = |message| drop(recorded.send(message));
        for (partial, ranges) in written {
            // a record must not outlive a power cut that its bytes don't
            partial.sync()?;
            merged(ranges).into_iter().try_for_each(|range| partial.record(range))?;
            tell(Message::Work(partial));
        }
        waiting.into_iter().map(Message::Flush).for_each(tell);
    }
    Ok(())
}

fn digest(receiver: &mpsc::Receiver<Message<Arc<Partial>>>) -> Result<(), StoreError> {
    while let Ok(message) = receiver.recv() {
        match message {
            Message::Work(partial) => partial.digest()?,
            // who waited may have been cancelled
            Message::Flush(done) => drop(done.send(())),
        }
    }
    Ok(())
}

/// Ranges in ascending order, those that touch made one.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_range() {
        let part = PART_BYTES;
        for (range, expected) in [
            (0..0, vec![]),
            (5..6, vec![5..6]),
            (0..part, vec![0..part]),
            (3..part * 2 + 4, vec![3..part + 3, part + 3..part * 2 + 3, part * 2 + 3..part * 2 + 4]),
            (u64::MAX - 1..u64::MAX, vec![u64::MAX - 1..u64::MAX]),
        ] {
            assert_eq!(split(range).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn ranges_that_touch_are_one() {
        assert_eq!(merged(vec![8..9, 0..2, 2..4, 3..5, 7..8]), [0..5, 7..9]);
    }
}
