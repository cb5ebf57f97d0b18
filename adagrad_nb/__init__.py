from .rules import Adagrad
from .penalties import *
from .transforms import *
from .schedules import *
from .averaging import *
from .losses import *
from .state import State, init
from .update import update
from .optimize import minimize_adagrad
from .stochastic import minimize_stochastic
