from stages.benchmarks.rates import prediction_rates
from stages.graft.model.predictor import load_predictor


def test_prediction_is_measured_beside_extraction_of_the_same_files(bundle_folder, tmp_path):
    paths = sorted((bundle_folder.parent / "pictures").rglob("*.png"))[:10]
    predicting, extracting = prediction_rates(load_predictor(bundle_folder), paths, tmp_path / "scratch")
    assert predicting > 0
    assert extracting > 0
    assert len((tmp_path / "scratch/2.csv").read_text(encoding="utf-8").splitlines()) == 11
    assert len(list((tmp_path / "scratch/2").glob("*/*.safetensors"))) == 1
