from .deblurrer import Deblurrer as Deblurrer
from .files import Job as Job
from .files import Plan as Plan
from .files import plan_jobs as plan_jobs
from .restore import Output as Output
from .restore import restore_files as restore_files
