"""The folders of a source, and where images lie in them."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from stages.graft.data.candidates import LIST_SUFFIXES, may_be_image


class FolderTree:
    """Folders by path, with slashes between names; the path of the source itself is empty."""

    def __init__(self, files: Iterable[str], folders: Iterable[str]) -> None:
        """Count the files that may be images, by their names, in each folder; both are paths, none hidden."""
        self._inner: defaultdict[str, set[str]] = defaultdict(set)
        self._num_direct: Counter[str] = Counter()
        self._num_files: Counter[str] = Counter()
        self.lists = list[str]()
        """Paths of lists, such as CSV files."""
        for folder in folders:
            self._add(folder)
        for file in files:
            folder = _parent(file)
            if file.lower().endswith(LIST_SUFFIXES):
                self.lists.append(file)
            self._add(folder)
            self._num_files[folder] += 1
            self._num_direct[folder] += may_be_image(file)
        self._num_images = self._sums(self._num_direct)
        self._num_all = self._sums(self._num_files)

    def inner(self, folder: str) -> list[str]:
        """Give the names of the folders in a folder, sorted."""
        return sorted(self._inner.get(folder, ()))

    def with_images(self, folder: str) -> list[str]:
        """Give the names of the folders in a folder that hold images at any depth, sorted."""
        return [name for name in self.inner(folder) if self.num_images(join(folder, name))]

    def num_images(self, folder: str) -> int:
        """Count the images below a folder, at any depth."""
        return self._num_images[folder]

    def num_direct(self, folder: str) -> int:
        """Count the images in a folder itself."""
        return self._num_direct[folder]

    def is_empty(self, folder: str) -> bool:
        """Say whether a folder holds no file, at any depth."""
        return not self._num_all[folder]

    def all_folders(self) -> list[str]:
        """Give the paths of all folders that hold folders, sorted."""
        return sorted(self._inner)

    def _add(self, folder: str) -> None:
        while folder:
            parent, name = _parent(folder), folder.rpartition("/")[2]
            if name in self._inner[parent]:
                return
            self._inner[parent].add(name)
            folder = parent

    @staticmethod
    def _sums(direct: Counter[str]) -> Counter[str]:
        """Add up what is in each folder and in those below it."""
        sums: Counter[str] = Counter()
        for folder, number in direct.items():
            sums[folder] += number
            while folder:
                folder = _parent(folder)
                sums[folder] += number
        return sums


def join(folder: str, name: str) -> str:
    """Give the path of what lies in a folder."""
    return f"{folder}/{name}" if folder else name


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
