"""One tree of errors. A class's docstring is the sentence that a user sees first; the caller adds the particulars."""


class PdkError(Exception):
    """Something is not as it should be."""

    def __init__(self, particulars: str = "", advice: str = "") -> None:
        """`particulars`: what and where. `advice`: what to do about it, a sentence."""
        super().__init__(particulars, advice)
        self.particulars = particulars
        self.advice = advice

    def __str__(self) -> str:
        sentence = (type(self).__doc__ or "").splitlines()[0]
        if self.particulars:
            sentence = f"{sentence.rstrip('.')}: {self.particulars}"
        return f"{sentence.rstrip('.')}. {self.advice}" if self.advice else sentence


def in_words(error: Exception) -> str:
    """What went wrong, for a person; of a fault of the system also where."""
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    return str(error)


class PassingFault(PdkError):
    """This did not work now and may work later."""


class BadSetting(PdkError):
    """A setting cannot be used."""


class DatabaseTooNew(PdkError):
    """The database was made by a newer pdk."""


class DatabaseTooOld(PdkError):
    """The database was made by an older pdk."""


class DatabaseUnusable(PdkError):
    """The database cannot be used."""


class NoDatabase(PdkError):
    """There is no database yet."""


class WriterBusy(PassingFault):
    """Another process is writing this database."""


class ReaderKilled(PassingFault):
    """The process that reads a log was killed."""


class DiskFull(PassingFault):
    """The disk is full."""


class SpoolUnusable(PdkError):
    """The spool cannot be used."""


class UnreadableLog(PdkError):
    """This file cannot be read as a log."""


class LacksFields(UnreadableLog):
    """Nothing says which test run and project these results belong to."""


class UnknownClaim(PdkError):
    """There is no such claimed log."""


class NotALog(PdkError):
    """This is not a log of test results."""


class LogTooLarge(PdkError):
    """This log is too large to send."""


class NotReceived(PdkError):
    """The server has not received this log."""


class NotPermitted(PdkError):
    """The broker does not permit this."""


class UnknownFormat(PdkError):
    """There is no such log format."""


class PathRefused(PdkError):
    """A file outside the spool and the import roots is not read on behalf of another machine."""


class UnknownRun(PdkError):
    """There is no such test run."""


class UnknownProject(PdkError):
    """There is no such project in this run."""


class BackupRefused(PdkError):
    """The backup cannot be written."""


class BadBackup(PdkError):
    """This cannot be restored."""


class ValuableRun(PdkError):
    """A valuable run is not deleted."""


class RunGone(PdkError):
    """This run cannot come back any more."""


class RunNameTaken(PdkError):
    """Another run has that name now."""


class UnknownTest(PdkError):
    """There is no such test."""


class UnknownClass(PdkError):
    """There is no such class of expected tests."""


class UnknownNightClass(PdkError):
    """There is no such class of nights."""


class NightUnfinished(PdkError):
    """Part of the night could not be done."""


class BadAddress(PdkError):
    """This cannot be an address."""


class BadContacts(PdkError):
    """These contacts cannot be used."""


class UnknownQuarantineItem(PdkError):
    """There is nothing of that id in the quarantine."""


class BrokerUnavailable(PassingFault):
    """The broker does not answer."""


class BrokerUntrusted(PdkError):
    """The broker's certificate is not trusted."""


class BrokerFull(PassingFault):
    """The broker has no room."""


class TaskFailed(PdkError):
    """It could not be done."""


class AlreadyUp(PdkError):
    """A `pdk up` of this home is running."""


class ServerPartMissing(PdkError):
    """A part that only a server needs is not installed."""


class MessageRefused(PdkError):
    """A message is refused for good."""


class DeliveryFault(PassingFault):
    """A message could not be delivered now."""


class ChannelDown(DeliveryFault):
    """Nothing can be delivered this way now."""


class UnknownMessage(PdkError):
    """There is no such message in the outbox."""


class BadEnvironment(PdkError):
    """The environment of these tests cannot be made."""


class BadOkfile(PdkError):
    """This okfile cannot be used."""
