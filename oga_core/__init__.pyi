from .data import (
    Dataset as Dataset,
    from_arrays as from_arrays,
    from_prompts as from_prompts,
    from_texts as from_texts,
    open_dataset as open_dataset,
)
from .detectors import Recommendation as Recommendation
from .errors import InputError as InputError
from .export import export as export
from .influence import influence_of as influence_of
from .maps import embedding as embedding
from .models import Classifier as Classifier, load_model as load_model, save_weights as save_weights, train as train
from .review import decide as decide, decisions as decisions, undo as undo
from .runs import Run as Run, Workspace as Workspace, recommend as recommend
from .scoring import score as score
from .serving import launch as launch
