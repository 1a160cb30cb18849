# SPDX-License-Identifier: Apache-2.0
"""The sources of a registry's jobs, for tests without a daemon."""

from fluxgymd.datasets.datasets import Datasets
from fluxgymd.jobs.registry import Registry
from fluxgymd.requests.sources import Sources
from fluxgymd.store.dataset_folders import DatasetFolders
from fluxgymd.store.pictures import PictureStore


def sources_of(registry: Registry) -> Sources:
    home = registry.home.path
    return Sources(Datasets(DatasetFolders(home), registry.disk), PictureStore(home))
