"""Every model of the catalog that needs no download passes the battery; nobody lists them again."""

import pytest

from embedstore.models import MODELS, Model, load_model
from embedstore.testing.model_contract import ModelContract

READS_AS_X = {"kmer": b"UZOB", "mini": b"UZOBJ*"}
"""Letters that a model reads exactly as it reads X, where there are any."""


@pytest.fixture(scope="module", params=[name for name, row in MODELS.items() if row.checkpoint is None])
def catalog_model(request: pytest.FixtureRequest) -> Model:
    return load_model(request.param, device="cpu")


class TestEveryModelWithoutDownload(ModelContract):
    @pytest.fixture
    def model(self, catalog_model: Model) -> Model:
        self.reads_as_x = READS_AS_X.get(catalog_model.name, b"")
        return catalog_model
